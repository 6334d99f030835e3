import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createScreen, type Screen } from './screen.ts'
import { MAX_STRING } from './stream-scanner.ts'

function newScreen(size = { rows: 24, cols: 80 }, history = 50) {
  const answers: string[] = []
  const screen = createScreen({
    ...size,
    history,
    answer: (bytes) => answers.push(Buffer.from(bytes).toString('latin1')),
  })
  let end = 0
  const feed = async (text: string | Uint8Array, replayed = false) => {
    const bytes = Buffer.from(text)
    await screen.feed(bytes, end, replayed)
    end += bytes.length
  }
  return { screen, answers, feed }
}

const shown = async (screen: Screen) => screen.snapshot({ runs: true, history: 1000 })

test('nothing is emulated before somebody looks', async () => {
  const { screen, feed } = newScreen()
  await feed('hello\r\n$ ')
  assert.equal(screen.emulated(), false)
  const { lines, cursor, offset } = await screen.snapshot()
  assert.deepEqual(lines.slice(0, 2), ['hello', '$'])
  assert.deepEqual(cursor, { row: 1, col: 2, visible: true })
  assert.equal(offset, 9)
  assert.equal(screen.emulated(), true)
})

// Answers of xterm to the same questions, from its documentation (ctlseqs).
const QUESTIONS: readonly (readonly [string, RegExp])[] = [
  ['\x1b[c', /^\x1b\[\?1;2c$/],
  ['\x1b[>c', /^\x1b\[>0;\d+;0c$/],
  ['\x1b[=c', /^\x1bP!\|00000000\x1b\\$/],
  ['\x1bZ', /^\x1b\[\?1;2c$/],
  ['\x1b[5n', /^\x1b\[0n$/],
  ['ab\x1b[6n', /^\x1b\[1;3R$/],
  ['\x1b[?2004$p', /^\x1b\[\?2004;2\$y$/],
  ['\x1b[>q', /^\x1bP>\|mahavishnu\x1b\\$/],
  ['\x1b]10;?\x07', /^\x1b\]10;rgb:e5e5\/e5e5\/e5e5\x1b\\$/],
  ['\x1b]11;?\x1b\\', /^\x1b\]11;rgb:0000\/0000\/0000\x1b\\$/],
  ['\x1b]4;1;?\x07', /^\x1b\]4;1;rgb:cdcd\/0000\/0000\x1b\\$/],
  ['\x1bP$qm\x1b\\', /^\x1bP1\$r0m\x1b\\$/],
  ['\x1bP+q544e\x1b\\', /^\x1bP0\+r\x1b\\$/],
  ['\x1b[18t', /^\x1b\[8;24;80t$/],
  ['\x1b[14t', /^\x1b\[4;384;640t$/],
  ['\x1b[?996n', /^\x1b\[\?997;1n$/],
]

test('what a program asks its terminal is answered once, with nobody looking and with many, byte by byte', async () => {
  for (const [question, answer] of QUESTIONS) {
    for (const watchers of [0, 3]) {
      const { screen, answers, feed } = newScreen()
      for (let count = 0; count < watchers; count++) await screen.watch(() => undefined)
      for (const byte of Buffer.from(question)) await feed(Uint8Array.of(byte))
      // Looking does not ask again, and waits for what is on its way.
      await Promise.all([screen.snapshot(), screen.snapshot()])
      assert.match(answers.join(''), answer, JSON.stringify(question))
    }
  }
})

test('what was answered before a restart is not answered again', async () => {
  const { screen, answers, feed } = newScreen()
  await feed('\x1b[c\x1b[6n', true)
  await feed('\x1b[5n')
  await screen.snapshot()
  assert.deepEqual(answers, ['\x1b[0n'])
})

test('property: a flood of lines that is skipped leaves the same screen, scrollback and colours', async () => {
  const lineWith = (...ends: string[]) =>
    fc.tuple(
      fc.constantFrom('', '', '\x1b[31m', '\x1b[0m', '\x1b[1;48;5;22m', '\t', '宽'),
      fc.string({ maxLength: 200, unit: 'grapheme-ascii' }),
      fc.constantFrom(...ends),
    )
  const some = { minLength: 30, maxLength: 60 }
  // Such as may be skipped, and such as must not.
  const lines = fc.oneof(
    fc.array(lineWith('\r\n'), some),
    fc.array(lineWith('\r\n', '\r\n', '\n', '\r\n\x1b[4;9H', '\x1b[K\r\n'), some),
  )
  const start = fc.constantFrom('', '\x1b[5;5Hold\x1b[12;1Hmore\x1b[2A', '\x1b[?1049hfull\x1b[H', '\x1b[3;9r')
  await fc.assert(
    fc.asyncProperty(start, lines, fc.integer({ min: 10, max: 40 }), async (before, all, times) => {
      const flood = all
        .map((parts) => parts.join(''))
        .join('')
        .repeat(times)
      const [skipped, whole] = [newScreen({ rows: 10, cols: 40 }, 20), newScreen({ rows: 10, cols: 40 }, 20)]
      await whole.screen.watch(() => undefined)
      for (const { feed, screen } of [skipped, whole]) {
        await feed(before)
        await screen.snapshot()
        await feed(flood)
        await feed('end')
      }
      const [mine, exact] = [await shown(skipped.screen), await shown(whole.screen)]
      assert.deepEqual({ ...mine, revision: 0 }, { ...exact, revision: 0 })
    }),
    { numRuns: 40 },
  )
})

test('property: the screen does not depend on how the output is cut into pieces', async () => {
  const pieces = fc.array(
    fc.constantFrom(
      'a',
      '宽',
      'e\u0301',
      '\r\n',
      '\x1b[31m',
      '\x1b[2;3H',
      '\x1b]0;title\x07',
      '\x1b]133;A\x1b\\',
      '\x1bP$qm\x1b\\',
      '\x1b]133;B\u009c',
      '\x1b]2;a\u0085',
      '\x1b[?25l',
      '🚀',
      '\x1b[J',
      '\x18',
    ),
    { minLength: 1, maxLength: 60 },
  )
  await fc.assert(
    fc.asyncProperty(pieces, fc.array(fc.nat(200), { maxLength: 8 }), async (parts, cuts) => {
      const bytes = Buffer.from(parts.join(''))
      const [once, cut] = [newScreen(), newScreen()]
      await once.feed(bytes)
      let from = 0
      for (const to of [...cuts.filter((at) => at < bytes.length).sort((a, b) => a - b), bytes.length]) {
        await cut.feed(bytes.subarray(from, to))
        if (to % 3 === 0) await cut.screen.snapshot()
        from = to
      }
      const [one, other] = [await shown(once.screen), await shown(cut.screen)]
      assert.deepEqual({ ...one, revision: 0 }, { ...other, revision: 0 })
      assert.equal(once.answers.join(''), cut.answers.join(''))
      assert.deepEqual(once.screen.lastMark(), cut.screen.lastMark())
    }),
    { numRuns: 60 },
  )
})

test('hostile output stays bounded: titles, endless strings, piles of marks, floods of questions', async () => {
  const { screen, answers, feed } = newScreen()
  await feed(`\x1b]0;a\x07\x1b]0;evil\u202e\u200b${'x'.repeat(1000)}\x07`)
  const { title } = await screen.snapshot()
  assert.ok(title.length <= 256 && title.startsWith('evilxxx') && !/[\p{Cc}\p{Cf}]/u.test(title), title)

  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  await feed('\x1b]52;c;')
  for (let count = 0; count < 200; count++) await feed('A'.repeat(MAX_STRING))
  await feed('\x07after\r\n\x1bPq')
  for (let count = 0; count < 100; count++) await feed('#'.repeat(MAX_STRING))
  await feed('\x1b\\done\r\n')
  await feed(`z${'\u0301'.repeat(1_000_000)}`)
  await feed('\x1b[H')
  const snapshot = await screen.snapshot({ runs: true })
  assert.ok(snapshot.lines.join('').length < 24 * 80 * 20, `${snapshot.lines.join('').length} characters`)
  const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before
  assert.ok(grown < 60e6, `${grown} bytes more`)

  await feed('\x1bc')
  await feed('\x1b]52;c;'.concat('B'.repeat(3 * MAX_STRING), '\x07behind the string\r\n'))
  assert.equal((await screen.snapshot()).lines[0], 'behind the string')
  await feed('\x1b[c'.repeat(100_000))
  await screen.snapshot()
  assert.ok(answers.join('').length < 10 * 4096, `${answers.join('').length} characters of answers`)
})

test('a difference has the rows that changed since a look, for every watcher of its own', async () => {
  const { screen, feed } = newScreen({ rows: 5, cols: 20 })
  await feed('one\r\ntwo\r\nthree')
  const first = await screen.snapshot()
  await feed('\x1b[2;1HTWO')
  const second = await screen.difference(first.revision)
  assert.deepEqual(second.rows, [{ row: 1, text: 'TWO' }])
  await feed('\x1b[1;1H\x1b[31mone')
  assert.deepEqual((await screen.difference(second.revision)).rows, [{ row: 0, text: 'one' }], 'a colour is a change')
  assert.deepEqual(
    (await screen.difference(first.revision)).rows.map(({ row }) => row),
    [0, 1],
  )
  assert.deepEqual((await screen.difference((await screen.snapshot()).revision)).rows, [])
  await screen.resize(6, 20)
  const resized = await screen.difference(second.revision)
  assert.equal(resized.full, true)
  assert.equal(resized.rows.length, 6)
})

test('the picture holds the text with its looks, and nothing of it as markup', async () => {
  const { screen, feed } = newScreen({ rows: 3, cols: 40 })
  await feed(
    '\x1b]0;<b>&"\x07\x1b[1;31m<script>\x1b[0m \x1b[7minverse\x1b[0m \x1b[4;3;38;2;1;2;3m宽 x\x1b[0m\x01\ufffe',
  )
  const svg = await screen.svg()
  assert.match(svg, /<title>&#60;b&#62;&#38;&#34;<\/title>/)
  assert.match(svg, /fill="#cd0000" font-weight="bold">&#60;script&#62;<\/text>/)
  assert.match(svg, /fill="#e5e5e5"\/><text [^>]*fill="#000000"[^>]*>inverse<\/text>/)
  assert.match(svg, /fill="#010203" font-style="italic" text-decoration="underline">宽 x<\/text>/)
  assert.ok(!svg.includes('<script') && !/[\x00-\x08\ufffe]/.test(svg))
  assert.ok(!/(href|on\w+=|url\()/.test(svg), 'nothing that runs or is fetched')
})

test('an idle screen takes less than 2 MB, looked at or not', async () => {
  const screens = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const one = newScreen({ rows: 24, cols: 80 }, 200)
      await one.feed('line of text\r\n'.repeat(300))
      return one
    }),
  )
  await screens[0]?.screen.snapshot()
  const before = process.memoryUsage()
  for (const { screen } of screens) await screen.snapshot()
  const after = process.memoryUsage()
  const each = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / screens.length
  assert.ok(each < 2e6, `${Math.round(each)} bytes each`)
})
