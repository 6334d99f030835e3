import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { RESTORE } from '../../src/surfaces/cli/terminal-state.ts'
import { upstreamTerminalTools } from '../../src/surfaces/mcp/upstream-terminal.ts'
import { repaint } from '../../src/workers/terminal/attach/repaint.ts'
import { createScreen } from '../../src/workers/terminal/screen/screen.ts'
import { type TerminalInstance, terminalInstance } from '../helpers/terminal-instance.ts'

/** What a hostile program, caller or moment tries, through the program as it is shipped. */

const SECRET = 'wrong-donkey-capacitor'
/** What a screen of ten columns makes of it. */
const ROWS = ['wrong-donk', 'ey-capacit', 'or']

const settings = { secrets: { box: 'env:BOX_PASSWORD' } }
const env = { BOX_PASSWORD: SECRET }

/** Reads a line that it hides, and then shows it: by `then`, a command for sh that has it in $p. */
async function typed(here: TerminalInstance, then: string, size: object = {}): Promise<string> {
  const script = join(here.folder, `ask-${randomBytes(4).toString('hex')}.sh`)
  await writeFile(script, `stty -echo\nprintf 'pass: '\nread p\nstty echo\nprintf '\\033[2J\\033[H'\n${then}\n`)
  const { session } = await here.data('start_interactive_session', { command: `sh ${script}`, ...size })
  await here.data('wait', { session, text: 'pass:', seconds: 10 })
  await here.data('send_keystrokes', { session, keys: [{ secret: 'box' }, 'Enter'] })
  return session as string
}

describe('TTY-08: a secret that is typed', () => {
  let here: TerminalInstance
  before(async () => {
    here = await terminalInstance({ settings: { ...settings, recording_bytes: 65_536 }, env })
  })
  after(() => here?.[Symbol.asyncDispose]())

  test('is refused where the terminal shows it by the time at which it would be typed, and not a delay before', async () => {
    const script = 'stty -echo; echo ready; sleep 1; stty echo; echo shown; cat'
    const { session } = await here.data('start_interactive_session', { command: `sh -c '${script}'` })
    await here.data('wait', { session, text: 'ready', seconds: 10 })
    const keys = [{ key: 'Left' }, { secret: 'box' }]
    const result = await here.call('send_keystrokes', { session, keys, delay_ms: 2_500 })
    assert.equal(result.error_code, 'MHV_TERMINAL_ECHO')
    const { text } = await here.data('read', { session })
    assert.doesNotMatch(text, /redacted/)
    await here.data('close', { session })
  })

  test('is not told piece by piece to whoever waits for a part of it', async () => {
    const session = await typed(here, 'echo "is $p."; cat')
    await here.data('wait', { session, text: '[redacted]', seconds: 10 })
    for (const more of [{}, { after: 0 }]) {
      const waited = await here.data('wait', { session, regex: 'is w?(.*k)', seconds: 1, ...more })
      assert.deepEqual([waited.outcome, waited.match], ['timeout', null])
    }
    await here.data('close', { session })
  })

  test('is masked where a part of it has scrolled off the screen', async () => {
    const session = await typed(here, 'printf "$p\\n1\\n2"; cat', { rows: 4, cols: 10 })
    await here.data('wait', { session, regex: '^2$', seconds: 10 })
    for (const history of [0, 5]) {
      const shown = await here.data('snapshot', { session, history, style: true, svg: true })
      assert.deepEqual((shown.lines as string[]).slice(-2), ['1', '2'])
      for (const part of ROWS.slice(0, 2))
        assert.ok(!JSON.stringify(shown).includes(part), `${part}: ${JSON.stringify(shown)}`)
    }
    await here.data('close', { session })
  })

  test('is masked in the screen with which the second file of a recording begins, also over several rows', async () => {
    // The screen keeps it while the file fills up: what does not compress is written in one row below.
    const noise = `while :; do printf '\\033[8;1H'; head -c 3000 /dev/urandom | base64 -w 0 | fold -w 9 | while read -r l; do printf '\\r%s' "$l"; done; done`
    const session = await typed(here, `printf "$p"; ${noise}`, { rows: 10, cols: 10 })
    const file = join(here.folder, 'terminal/recordings', `${session}.0.cast.gz`)
    for (let waited = 0; waited < 200; waited++) {
      if ((await readFile(file).catch(() => undefined)) !== undefined) break
      await here.data('wait', { session, exit: true, seconds: 0.1 })
    }
    await here.data('close', { session })
    const second = gunzipSync(await readFile(file.replace('.0.cast', '.cast'))).toString()
    assert.ok(second.includes('[redacted]'), second.slice(0, 500))
    for (const part of ROWS.slice(0, 2)) assert.ok(!second.includes(part), part)
  })
})

test('TTY-08: a secret of a session that is not recorded is masked after a restart, too', async () => {
  await using here = await terminalInstance({ settings: { ...settings, recording: false }, env })
  const session = await typed(here, 'echo "is $p."; cat')
  await here.data('wait', { session, text: 'is', seconds: 10 })
  await here.leave()
  await here.again()
  const { lines } = await here.data('snapshot', { session })
  assert.deepEqual((lines as string[]).slice(0, 1), ['is [redacted].'])
  assert.doesNotMatch((await here.data('read', { session })).text, /donkey/)
})

test('the login shell is that of the user: a caller who sets SHELL starts no other program with it', async () => {
  await using here = await terminalInstance({ settings: { commands: ['cat'] }, env: { SHELL: '/bin/sh' } })
  const program = join(here.folder, 'program')
  await writeFile(program, '#!/bin/sh\necho not the shell\ncat\n')
  await chmod(program, 0o755)
  const request = { env: { SHELL: program }, marks: false }
  const result = await here.call('start_interactive_session', request)
  if (result.error_code !== null) {
    assert.equal(result.error_code, 'MHV_TERMINAL_ENVIRONMENT')
    return
  }
  const { session } = result.data as { session: string }
  const { outcome } = await here.data('wait', { session, text: 'not the shell', seconds: 2 })
  assert.equal(outcome, 'timeout')
})

// Insert mode, no wrapping, rows from the region on, line drawing in G0 and G1 (shown), a region, reversed, all of that saved with
// the cursor, and a title without end.
const LEFT = '\x1b[2;3r\x1b[4h\x1b[20h\x1b[?7l\x1b[?5h\x1b[?6h\x1b(0\x1b)0\x0e\x1b[7m\x1b7\x1b]0;a title'

async function shownAfter(...outputs: readonly string[]): Promise<readonly string[]> {
  const screen = createScreen({ rows: 4, cols: 10, answer: () => undefined })
  let end = 0
  for (const bytes of outputs.map((each) => Buffer.from(each))) {
    await screen.feed(bytes, end)
    end += bytes.length
  }
  const { lines } = await screen.snapshot()
  screen.dispose()
  return lines
}

test('a terminal is as before when it is detached, whatever the program has left on it', async () => {
  const then = '\x1b[H\x1b[Jlqkabcdefghi\x1b[Hx\r\n\n2'
  assert.deepEqual(await shownAfter(RESTORE, then), ['xqkabcdefg', 'hi', '2', ''])
  assert.deepEqual(await shownAfter(LEFT, RESTORE, then), ['xqkabcdefg', 'hi', '2', ''])
})

test('a terminal that is painted again shows letters as letters, also where the program was drawing lines', async () => {
  const screen = createScreen({ rows: 4, cols: 10, answer: () => undefined })
  await screen.feed(Buffer.from('lqk\r\nxx'), 0)
  const painted = repaint(await screen.snapshot({ runs: true }), await screen.modes())
  screen.dispose()
  assert.deepEqual(await shownAfter('\x1b(0\x1b)0\x0e\x1b[4h\x1b[2;3r\x1b[?6h\x1b7', painted), ['lqk', 'xx', '', ''])
})

test('a client that goes away while it launches sessions leaves none behind whose id it was not told', async () => {
  await using here = await terminalInstance({ settings: { commands: ['cat'], max_sessions_per_owner: 50 } })
  const launch = upstreamTerminalTools.find(({ name }) => name === 'terminal_launch')
  assert.ok(launch)
  const gone = new AbortController()
  const open = async () => ((await here.data('list')).sessions as unknown[]).length
  const call = { principal: here.instance.principal, surface: 'mcp', signal: gone.signal }
  const launched = launch.call(here.instance, { command: 'cat', count: 50 }, call)
  const ended = assert.rejects(Promise.resolve(launched))
  while ((await open()) < 3) await new Promise(setImmediate)
  gone.abort(new Error('the client is gone'))
  await ended
  assert.equal(await open(), 0)
})

test('a session whose recording cannot be written any longer goes on, and is no longer said to be recorded', async () => {
  await using here = await terminalInstance({ settings: { commands: ['cat'] } })
  const { session, recorded } = await here.data('start_interactive_session', { command: 'cat' })
  assert.equal(recorded, true)
  const folder = join(here.folder, 'terminal/recordings')
  await rm(folder, { recursive: true })
  await writeFile(folder, 'in its place')
  await here.data('send_keystrokes', { session, keys: 'goes on\n' })
  const isRecorded = async () => (await here.data('list')).sessions[0].recorded as boolean
  for (let waited = 0; (await isRecorded()) && waited < 50; waited++) {
    await here.data('wait', { session, exit: true, seconds: 0.1 })
  }
  assert.equal(await isRecorded(), false)
  assert.equal((await here.data('snapshot', { session })).lines[0], 'goes on')
  await rm(folder)
})
