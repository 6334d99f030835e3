import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createSecret } from '../../core/secret.ts'
import { commandLine } from './command-line.ts'
import { createSudoDialogue, passwordLine } from './sudo-dialogue.ts'
import { createSudoScanner, type SudoWord } from './sudo-scanner.ts'

const MARKER = 'mahavishnu-marker'
const PROMPT = 'mahavishnu-prompt'

function scan(pieces: readonly Buffer[]) {
  const words: SudoWord[] = []
  const scanner = createSudoScanner(MARKER, PROMPT, (word) => words.push(word))
  const passed = pieces.map(scanner.push)
  return { words, text: Buffer.concat([...passed, scanner.end()]).toString() }
}

/** The text in pieces of these sizes, over and over. */
function cut(text: string, sizes: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text)
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] as number
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

describe('the words before a command under sudo', () => {
  const begins = `lecture\n${MARKER} sudo 41\n${PROMPT}${MARKER} ready\n${MARKER} 42\n`

  test('are found and cut out however the stream is cut; after the start everything is the command’s', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(sizes, (each) => {
        const { words, text } = scan(cut(`${begins}own ${PROMPT} ${MARKER} 43\n`, each))
        assert.deepEqual(
          words.map(({ kind }) => kind),
          ['sudo', 'prompt', 'ready', 'started'],
        )
        assert.equal(text, `own ${PROMPT} ${MARKER} 43\n`)
      }),
    )
  })

  test('what was said is passed on where the command does not begin', () => {
    const { words, text } = scan([Buffer.from(`${MARKER} sudo 41\nsudo: no\n${MARKER} x\n${MARKER} cwd\n`)])
    assert.deepEqual(words, [{ kind: 'sudo', pid: 41 }, { kind: 'cwd' }])
    assert.equal(text, `sudo: no\n${MARKER} x\n`)
  })

  test('a stream that never comes to the point is passed on', () => {
    const { words, text } = scan([Buffer.alloc(1_100_000, 'x'), Buffer.from(`${MARKER} 42\n`)])
    assert.deepEqual(words, [])
    assert.equal(text.length, 1_100_000 + MARKER.length + 4)
  })
})

test('nothing goes in before it is asked for', async () => {
  const written: string[] = []
  const note = (kind: string) => (bytes?: unknown) => written.push(`${kind} ${bytes ?? ''}`)
  const channel = { write: note('write'), end: note('end'), writable: true } as unknown as Parameters<
    typeof createSudoDialogue
  >[0]['channel']
  const password = async () => createSecret('env:X', 'pass')
  const parts = { preamble: Buffer.from('script'), stdin: Buffer.from('input') }
  const dialogue = createSudoDialogue({ channel, marker: MARKER, prompt: PROMPT, password, ...parts })
  const say = async (text: string) => {
    dialogue.push(Buffer.from(text))
    await new Promise(setImmediate)
    return written.splice(0)
  }
  assert.deepEqual(await say(`hello\n${MARKER} sudo 41\n`), [])
  assert.deepEqual(await say(PROMPT), ['write pass\n'])
  assert.deepEqual(await say(`${MARKER} ready\n`), ['write script'])
  assert.deepEqual(await say(`${MARKER} 42\n`), ['end input'])
  assert.deepEqual([dialogue.session(), dialogue.report()], [41, { kind: 'started', pid: 42 }])
})

test('the line has each argument quoted; a password must be one line', () => {
  const shell = { path: '/bin/sh', posix: true, sh: true }
  const sudo = { user: 'www-data', prompt: PROMPT }
  const { line } = commandLine({ command: "echo 'it'", env: {}, runId: 'R', marker: MARKER, sudo }, shell)
  const last = line.slice(line.indexOf('exec sudo'))
  assert.match(last, /^exec sudo -k -S -p 'mahavishnu-prompt' -u 'www-data' -- \/bin\/sh -c '.*'$/s)
  assert.ok(last.includes(String.raw`echo '\''it'\'''`))
  assert.equal(passwordLine(createSecret('env:X', 'a b')), 'a b\n')
  assert.throws(() => passwordLine(createSecret('env:X', 'a\nb')), /line break/)
})
