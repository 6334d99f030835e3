import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createScreen } from './screen.ts'

const SIZE = { rows: 4, cols: 10 }

async function screenOf(output: string, size = SIZE) {
  const screen = createScreen({ ...size, history: 50, answer: () => undefined })
  await screen.feed(Buffer.from(output), 0)
  const began = performance.now()
  const { lines, history = [] } = await screen.snapshot({ history: 50 })
  const took = performance.now() - began
  screen.dispose()
  return { lines, history, took }
}

// What they do with more than the screen has is what they do with as much as it has.
const ROWS = '\x1b[1;1H1\x1b[2;1H2\x1b[3;1H3\x1b[4;1H4\x1b[2;5H'
for (const [name, final, most] of [
  ['scroll up', 'S', SIZE.rows],
  ['scroll down', 'T', SIZE.rows],
  ['insert lines', 'L', SIZE.rows],
  ['delete lines', 'M', SIZE.rows],
  ['tabs forward', 'I', SIZE.cols],
  ['tabs backward', 'Z', SIZE.cols],
] as const) {
  test(`TTY-03: "${name}" two thousand million times costs what a screen of it costs`, async () => {
    const { took, ...endless } = await screenOf(`${ROWS}\x1b[2147483647${final}x`)
    const { took: _, ...bounded } = await screenOf(`${ROWS}\x1b[${most}${final}x`)
    assert.deepEqual(endless, bounded)
    assert.ok(took < 1_000, `${took} ms`)
  })
}

test('TTY-03: a character is repeated to the end of its line, as in tmux, however often it should be', async () => {
  const { lines, took } = await screenOf('ab\x1b[3b|\x1b[2;1Hx\x1b[2147483647b\x1b[2147483647b')
  assert.deepEqual(lines, ['abbbb|', 'xxxxxxxxxx', '', ''])
  assert.ok(took < 1_000, `${took} ms`)
  // Behind the last column the next character begins the next line, once.
  assert.deepEqual((await screenOf('x\x1b[99by')).lines, ['xxxxxxxxxx', 'y', '', ''])
})

test('TTY-03: links whose line never goes take no memory for good', async () => {
  const screen = createScreen({ ...SIZE, history: 50, answer: () => undefined })
  const link = (index: number) =>
    Buffer.from(`\r\x1b]8;;http://a/${index}${'b'.repeat(30_000)}\x1b\\link\x1b]8;;\x1b\\`)
  let end = 0
  const write = async (count: number) => {
    for (let index = 0; index < count; index++) {
      const bytes = link(end)
      await screen.feed(bytes, end)
      end += bytes.length
    }
    assert.equal((await screen.snapshot()).lines[0], 'link')
    gc()
    return process.memoryUsage().heapUsed
  }
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const before = await write(50)
  const after = await write(300)
  screen.dispose()
  assert.ok(after - before < 3_000_000, `${after - before} bytes more after 9 MB of links`)
})
