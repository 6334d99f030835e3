import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type * as NodePty from '@lydell/node-pty'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { clientEnvironment } from '../helpers/mcp-client-environment.ts'
import { terminalFolder } from '../helpers/terminal-instance.ts'

const { spawn: spawnPty } = createRequire(import.meta.url)('@lydell/node-pty') as typeof NodePty
/** The program as it is shipped, from its sources. */
const PROGRAM = join(import.meta.dirname, '../../src/bin.ts')

let folder: string
let up: ChildProcess
let url = ''

before(async () => {
  folder = await terminalFolder()
  up = spawn(process.execPath, [PROGRAM, 'up', '--folder', folder, '--set', 'http.port=0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  up.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  for (let waited = 0; !said.includes('the token is in'); waited += 50) {
    assert.ok(waited < 30_000 && up.exitCode === null, said)
    await delay(50)
  }
  url = /^listening on (\S+)/m.exec(said)?.[1] ?? ''
})
after(async () => {
  const { sessions } = JSON.parse((await cli('list', '--json')).stdout).data as { sessions: { session: string }[] }
  for (const { session } of sessions) await cli('close', session)
  const ended = once(up, 'exit')
  up.kill('SIGTERM')
  await ended
  await rm(folder, { recursive: true, force: true })
})

async function cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const at = args.indexOf('--')
  const place = ['--folder', folder]
  const words = at < 0 ? [...args, ...place] : [...args.slice(0, at), ...place, ...args.slice(at)]
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [PROGRAM, 'terminal', ...words])) }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, stdout, stderr }
  }
}

const startBash = async () => (await cli('start', '--', 'bash --norc')).stdout.trim()

/** A command line in a terminal of its own, as a person has it. */
function onTerminal(line: string) {
  const env = { ...process.env, M: `${process.execPath} ${PROGRAM}`, F: folder } as Record<string, string>
  const pty = spawnPty('sh', ['-c', line], { cols: 100, rows: 30, name: 'xterm-256color', env })
  let seen = ''
  pty.onData((data) => {
    seen += data
  })
  const exited = new Promise<number>((done) => void pty.onExit(({ exitCode }) => done(exitCode)))
  return {
    pty,
    exited,
    seen: () => seen,
    async sees(wanted: RegExp) {
      for (let waited = 0; !wanted.test(seen); waited += 20) {
        assert.ok(waited < 20_000, `${wanted} is not in ${JSON.stringify(seen.slice(-2_000))}`)
        await delay(20)
      }
    },
  }
}

describe('mahavishnu terminal', () => {
  test('attach makes this terminal that of the session: keys, size, and as before when it is detached', async () => {
    const session = await startBash()
    const person = onTerminal(`$M terminal attach ${session} --folder $F; echo "exit $?"; stty -a`)
    await person.sees(/\x1b\[2J[\s\S]*[$#]/)
    person.pty.write('stty size\r')
    await person.sees(/30 100/)
    person.pty.resize(120, 40)
    await delay(300)
    person.pty.write('stty size\r')
    await person.sees(/40 120/)
    // Ctrl+C goes to the session and not to the command that attaches.
    person.pty.write('sleep 100\r')
    await delay(300)
    person.pty.write('\x03')
    person.pty.write('echo still-$((1+1))\r')
    await person.sees(/still-2/)
    person.pty.write('\x1c')
    assert.equal(await person.exited, 0)
    await person.sees(/detached; the session goes on[\s\S]*exit 0[\s\S]* icanon/)
    assert.match(person.seen(), /[; ]echo /, 'the terminal echoes again')
    assert.ok((await cli('list')).stdout.includes(`${session}  running`))
    await cli('close', session)
  })

  test('attach ends with the session, by its exit code, and with another detach key', async () => {
    const session = await startBash()
    const first = onTerminal(`$M terminal attach ${session} --folder $F --detach-key 'Ctrl+]'; echo "exit $?"`)
    await first.sees(/[$#]/)
    first.pty.write('\x1d')
    await first.sees(/exit 0/)
    const second = onTerminal(`$M terminal attach ${session} --folder $F; echo "exit $?"; stty -a`)
    await second.sees(/\x1b\[2J[\s\S]*[$#]/)
    second.pty.write('exit 5\r')
    await second.sees(/the session has ended \(exit code 5\)[\s\S]*exit 5[\s\S]* icanon/)
    await Promise.all([first.exited, second.exited])
    await cli('close', session)
  })

  test('attach without a terminal, or to what is not there, is an error', async () => {
    const refused = await cli('attach', '01K5E2W9QZ3V7M4T8N6R1XJYHB')
    assert.match(refused.stderr, /MHV_CLI_USAGE.*no terminal/)
    const unknown = onTerminal('$M terminal attach NOBODY --folder $F; echo "exit $?"')
    await unknown.sees(/MHV_TERMINAL_UNKNOWN[\s\S]*exit 201/)
    await unknown.exited
  })

  test('run, snapshot, wait and replay, as a script has them', async () => {
    const session = await startBash()
    const ran = await cli('run', session, '--', 'echo words; exit_code() { return 3; }; exit_code')
    assert.deepEqual([ran.code, ran.stdout], [3, 'words\n'])
    assert.equal((await cli('send', session, '--keys', '["echo 4$((1+1))", "Enter"]')).code, 0)
    assert.equal((await cli('wait', session, '--text', '42', '--seconds', '10')).stdout, 'text: 42\n')
    assert.match((await cli('snapshot', session)).stdout, /^42$/m)
    await cli('close', session)
    const played = await cli('replay', session)
    assert.match(played.stdout, /words[\s\S]*42/)
    assert.match((await cli('replay', session, '--format', 'svg')).stdout, /^<svg /)
    const shown = onTerminal(`$M terminal replay ${session} --folder $F --speed 1000; echo "exit $?"`)
    await shown.sees(/words[\s\S]*42[\s\S]*exit 0/)
    await shown.exited
  })
})

test('TTY-04: over HTTP another principal does not reach a session of the command line, and has his own', async () => {
  const session = await startBash()
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const post = async (verb: string, input: object) => {
    const response = await fetch(new URL(`/v1/workers/terminal/operations/${verb}`, url), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ input }),
    })
    return (await response.json()) as { error_code: string | null; data: Record<string, unknown> | null }
  }
  for (const [verb, input] of [
    ['snapshot', { session }],
    ['send_keystrokes', { session, keys: 'x' }],
    ['close', { session }],
    ['attach', { session, key_sha256: '0'.repeat(64) }],
  ] as const) {
    assert.equal((await post(verb, input)).error_code, 'MHV_TERMINAL_UNKNOWN', verb)
  }
  const own = await post('start_interactive_session', { command: 'cat' })
  const theirs = own.data?.session as string
  assert.equal((await post('close', { session: theirs })).error_code, null)
  assert.ok((await cli('list')).stdout.includes(`${session}  running`))
  await cli('close', session)
})

test("the original project's terminal tools, by the official client", async () => {
  const client = new Client({ name: 'test', version: '1.0.0' })
  const args = [PROGRAM, 'mcp', '--profile', 'upstream', '--folder', folder]
  const env = clientEnvironment()
  await client.connect(new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }))
  const call = async (name: string, input: Record<string, unknown> = {}) =>
    (await client.callTool({ name, arguments: input })).structuredContent as Record<string, never>
  try {
    const { tools } = await client.listTools()
    const names = tools.map(({ name }) => name).filter((name) => name.startsWith('terminal_'))
    for (const name of ['launch', 'send', 'capture', 'capture_all', 'list', 'close', 'close_all']) {
      assert.ok(names.includes(`terminal_${name}`), `terminal_${name} in ${names}`)
    }
    const launched = (await call('terminal_launch', { command: 'bash --norc', count: 2 })).result as unknown as string[]
    assert.equal(launched.length, 2)
    const [first = '', second = ''] = launched
    assert.deepEqual(
      (await call('terminal_send', { session_id: first, command: 'echo up$((1+1))stream' })).status,
      'success',
    )
    for (let waited = 0; ; waited += 50) {
      const captured = (await call('terminal_capture', { session_id: first, lines: 5 })).result as unknown as string
      if (captured.includes('up2stream')) break
      assert.ok(waited < 10_000, captured)
      await delay(50)
    }
    const all = await call('terminal_capture_all', { session_ids: [first, 'NOBODY'] })
    assert.match(all[first] as unknown as string, /up2stream/)
    assert.match(all.NOBODY as unknown as string, /^error: /)
    await call('terminal_close', { session_id: second })
    const listed = (await call('terminal_list')).result as unknown as { session_id: string }[]
    assert.deepEqual(
      listed.map(({ session_id }) => session_id),
      [first],
    )
    assert.equal((await call('terminal_close_all')).closed_count, 1)
    assert.deepEqual((await call('terminal_list')).result, [])
  } finally {
    await client.close()
  }
})
