import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import type { OutStream } from './io.ts'
import { createOutput } from './output.ts'

/** What is written to a standard output that is a terminal, or is none. */
async function written(isTTY: boolean, write: (out: ReturnType<typeof createOutput>) => void): Promise<string> {
  const stdout = Object.assign(new PassThrough(), { isTTY })
  const stderr = Object.assign(new PassThrough(), { isTTY })
  const out = createOutput(
    { stdout: stdout as unknown as OutStream, stderr: stderr as unknown as OutStream },
    { quiet: false },
  )
  write(out)
  await out.flush()
  return (stdout.read() as Buffer).toString('utf8')
}

// CSI and OSC as one character, which terminals take as well as ESC [ and ESC ].
const HOSTILE = { text: 'a\x9b31mb\x9d52;c;ZXZpbA==\x9c\x7f\x1b]0;t\x07é\u202e' }

for (const kind of ['document', 'line'] as const) {
  test(`JSON on a terminal (${kind}) has no control in it, and says the same`, async () => {
    const text = await written(true, (out) => out[kind](HOSTILE))
    assert.doesNotMatch(text, /[\0-\x09\x0b-\x1f\x7f-\x9f]/)
    assert.deepEqual(JSON.parse(text), HOSTILE)
    assert.equal(await written(false, (out) => out[kind](HOSTILE)), `${JSON.stringify(HOSTILE)}\n`)
  })
}

test('what a program wrote is shown on a terminal without its controls, and passed on as it is elsewhere', async () => {
  assert.equal(await written(true, (out) => out.data(HOSTILE.text)), 'ab52;c;ZXZpbA==é')
  assert.equal(await written(false, (out) => out.data(HOSTILE.text)), HOSTILE.text)
})
