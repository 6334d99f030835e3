import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { terminal } from '../../src/workers/terminal/index.ts'
import { carrying, until } from '../helpers/processes.ts'
import { makeUser, type SystemUser, userMissing } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts'
import { type TerminalInstance, type TerminalInstanceOptions, terminalInstance } from '../helpers/terminal-instance.ts'

/** Sessions on a host over SSH, by the operations, as the program is shipped. */

const skip = sshdMissing() ?? userMissing() ?? false
const stranger = { id: 'agent:stranger', kind: 'agent' } as const

let sshd: Sshd
let proxy: TcpProxy
let here: TerminalInstance
const users: SystemUser[] = []
before(async () => {
  if (skip) return
  sshd = await startSshd()
  proxy = await startTcpProxy({ port: sshd.port })
  here = await instance()
})
after(async () => {
  await here?.[Symbol.asyncDispose]()
  for (const user of users) await user.remove()
  await proxy?.close()
  await sshd?.stop()
})

function instance(options: TerminalInstanceOptions = {}): Promise<TerminalInstance> {
  const { ssh, ...more } = options
  const target = { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` }
  return terminalInstance({ sshd, target, ssh: { kill_grace: 0.5, ...ssh }, ...more })
}

async function start(on: TerminalInstance, command?: string): Promise<string> {
  const input = command === undefined ? {} : { command }
  const { session } = await on.data('start_interactive_session', input, { target: 'box' })
  return session
}

const wait = async (on: TerminalInstance, session: string, wanted: object) => {
  const answer = await on.data('wait', { session, seconds: 15, ...wanted })
  assert.notEqual(answer.outcome, 'timeout', JSON.stringify(wanted))
  return answer
}

suite('a session on a host', { skip, timeout: 120_000 }, () => {
  test('is started, typed into, waited for, seen, read, signalled, resized, replayed and closed', async () => {
    const begun = await here.invoke('terminal.start_interactive_session', { rows: 30 }, { target: 'box' })
    const { session, kind, target, command, recording } = begun.data as Record<string, string>
    assert.deepEqual([kind, target, command], ['remote', 'box', null])
    assert.equal(recording, `terminal/recordings/${session}.cast.gz`)
    await wait(here, session as string, { prompt: true })
    const typed = await here.data('send_keystrokes', { session, keys: ['echo one$((1+1))', 'Enter'] })
    await wait(here, session as string, { regex: '^one2$', after: typed.cursor })
    await here.data('resize_terminal', { session, rows: 33, cols: 90 })
    const ran = await here.data('run', { session, command: 'stty size; echo "$TERM"; false' })
    assert.deepEqual([ran.output, ran.exit_code, ran.exact], ['33 90\nxterm-256color\n', 1, true])
    await wait(here, session as string, { stable_ms: 300 })
    const { text, cursor } = await here.data('read', { session })
    assert.match(text, /one2\r\n/)
    assert.doesNotMatch(text, /mahavishnu-[0-9a-f]{8}-/, 'what tells us the process is not shown')
    assert.equal((await here.data('read', { session, cursor })).text, '')
    await here.data('send_keystrokes', { session, keys: 'sleep 61\n' })
    assert.ok(await until(() => carrying('sleep\0' + '61').length > 0))
    await here.data('send_signal', { session, signal: 2 })
    assert.equal((await here.data('run', { session, command: 'echo back' })).output, 'back\n')
    await here.data('send_keystrokes', { session, keys: 'exit 5\n' })
    const { exit } = await wait(here, session as string, { exit: true })
    assert.deepEqual(exit, { exit_code: 5, signal: null, reason: 'exited' })
    await here.data('close', { session })
    const { content } = await here.data('replay', { recording: begun.run_id, format: 'txt' })
    assert.match(content, /one2[\s\S]*back/)
  })

  test('TTY-04: is out of reach for another principal, by every operation', { timeout: 30_000 }, async () => {
    const session = await start(here, 'cat')
    try {
      const calls: Readonly<Record<string, object>> = {
        send_keystrokes: { keys: 'x' },
        snapshot: {},
        read: {},
        wait: { stable_ms: 1, seconds: 1 },
        run: { command: 'x', seconds: 1 },
        resize_terminal: { rows: 10, cols: 10 },
        send_signal: { signal: 9 },
        attach: { key_sha256: '0'.repeat(64) },
        close: {},
      }
      const about = terminal.operations.filter(({ input }) => 'session' in input.shape).map(({ id }) => id)
      assert.deepEqual(
        about.sort(),
        Object.keys(calls)
          .map((verb) => `terminal.${verb}`)
          .sort(),
      )
      for (const [verb, input] of Object.entries(calls)) {
        const ask = (of: string) =>
          here.invoke(`terminal.${verb}`, { ...input, session: of }, { timeout: 3, wait: 5 }, stranger)
        const [refused, unknown] = [await ask(session), await ask('NOBODY')]
        assert.equal(refused.error_code, 'MHV_TERMINAL_UNKNOWN', verb)
        assert.equal(unknown.error, refused.error, `${verb} says the same of what is not there`)
      }
      assert.deepEqual((await here.call('list', {}, stranger)).data, { sessions: [] })
      const recording = await here.call('replay', { recording: session }, stranger)
      assert.equal(recording.error_code, 'MHV_TERMINAL_RECORDING_UNKNOWN')
      const { lines, rows } = await here.data('snapshot', { session })
      assert.ok(rows === 24 && (lines as string[]).every((line) => line === ''), 'nothing of that touched it')
    } finally {
      await here.data('close', { session })
    }
  })

  for (const [how, ssh] of [
    ['in the main process', {}],
    ['with the SSH worker in a process of its own', { isolation: 'process' }],
  ] as const) {
    test(`a connection that is cut, ${how}: the session is lost, and nobody says more than is known`, async () => {
      await using own = await instance({ ssh })
      const mark = `97${process.pid}3`
      const session = await start(own, `sleep ${mark}`)
      const other = await start(own, 'cat')
      const waiting = own.data('wait', { session, exit: true, seconds: 20 })
      proxy.cut()
      const { outcome, exit } = await waiting
      assert.deepEqual([outcome, exit], ['exit', { exit_code: null, signal: null, reason: 'lost' }])
      const listed = await own.data('list')
      assert.deepEqual(
        listed.sessions.map(({ exit: end }: { exit: { reason: string } }) => end.reason),
        ['lost', 'lost'],
      )
      for (const [verb, input] of [
        ['send_keystrokes', { keys: 'x' }],
        ['send_signal', { signal: 15 }],
        ['resize_terminal', { rows: 5, cols: 50 }],
      ] as const) {
        const { error_code, effect_certainty } = await own.call(verb, { session: other, ...input })
        assert.deepEqual([error_code, effect_certainty], ['MHV_TERMINAL_LOST', 'unknown'], verb)
      }
      assert.equal((await own.call('snapshot', { session })).status, 'completed', 'what was there can be seen')
      for (const each of [session, other]) {
        assert.equal((await own.data('close', { session: each })).exit.reason, 'lost')
      }
      const again = await start(own, 'cat')
      await own.data('close', { session: again })
    })
  }

  test('the process of the SSH worker dies: the session is told as lost at once', async () => {
    await using own = await instance({ ssh: { isolation: 'process' } })
    const session = await start(own, 'cat')
    const waiting = own.data('wait', { session, exit: true, seconds: 20 })
    const { principal } = own.instance
    const health = { name: 'worker_health', input: { worker: 'ssh' }, principal }
    const { workers } = (await own.instance.control(health as never)) as unknown as {
      workers: [{ connection: { pid: number } }]
    }
    process.kill(workers[0].connection.pid, 'SIGKILL')
    assert.equal((await waiting).exit.reason, 'lost')
    await own.data('close', { session })
  })

  test('limits count sessions of hosts, and an unused one is ended there, too', async () => {
    await using own = await instance({ settings: { max_sessions_per_owner: 2, idle_timeout: 2 } })
    const mark = `96${process.pid}4`
    const quiet = await start(own, `sleep ${mark}`)
    await start(own, 'cat')
    const third = await own.invoke('terminal.start_interactive_session', { command: 'cat' }, { target: 'box' })
    assert.equal(third.error_code, 'MHV_TERMINAL_LIMIT')
    assert.ok(await until(() => carrying(mark).length > 0))
    assert.equal((await own.data('wait', { session: quiet, exit: true, seconds: 10 })).exit.reason, 'idle')
    assert.ok(await until(() => carrying(mark).length === 0), 'it ends on the host')
  })

  test('what is not there for a host, or not allowed, is refused before anything is opened', async () => {
    const code = async (on: TerminalInstance, input: object) =>
      (await on.invoke('terminal.start_interactive_session', input, { target: 'box' })).error_code
    assert.equal(await code(here, { command: 'cat', directory: '/' }), 'MHV_INPUT_INVALID')
    assert.equal(await code(here, { command: 'cat; id' }), 'MHV_INPUT_INVALID')
    await using strict = await instance({ settings: { commands: ['cat'] } })
    assert.equal(await code(strict, { command: 'bash' }), 'MHV_TERMINAL_COMMAND_DENIED')
    const session = await start(here, 'no-such-program-here')
    const { exit } = await wait(here, session, { exit: true })
    assert.equal(exit.exit_code, 127)
    assert.match((await here.call('snapshot', { session })).output ?? '', /not found/)
    await here.data('close', { session })
  })
})

suite('ssh.execute with mode interactive', { skip, timeout: 120_000 }, () => {
  const modes = ['none', 'process'] as const
  for (const ssh of modes) {
    for (const own of modes) {
      test(`opens a session of the caller (isolation of ssh: ${ssh}, of terminal: ${own})`, async () => {
        await using box = await instance({ ssh: { isolation: ssh }, settings: { isolation: own } })
        const opened = await box.invoke(
          'ssh.execute',
          { command: 'bash --norc', mode: 'interactive' },
          { target: 'box' },
        )
        assert.equal(opened.status, 'completed', opened.error ?? '')
        const data = opened.data as { stdout: string; pid: null; interactive: { session: string; next: string } }
        const { session, next } = data.interactive
        assert.deepEqual([data.stdout, data.pid, opened.output], [`${session}\n`, null, session])
        assert.equal(opened.exit_code, null)
        assert.match(next, new RegExp(`terminal attach ${session}`))
        await wait(box, session, { prompt: true })
        assert.equal((await box.data('run', { session, command: 'echo here' })).output, 'here\n')
        const [listed] = (await box.data('list')).sessions
        assert.deepEqual([listed.session, listed.run_id, listed.target], [session, opened.run_id, 'box'])
        const denied = await box.call('close', { session }, stranger)
        assert.equal(denied.error_code, 'MHV_TERMINAL_UNKNOWN', 'TTY-04')
        await box.data('close', { session })
      })
    }
  }

  test('has the list of programs and the limits of terminal, and takes nothing that a terminal has not', async () => {
    await using strict = await instance({ settings: { commands: ['cat'], max_sessions_per_owner: 1 } })
    const code = async (input: object) =>
      (await strict.invoke('ssh.execute', { mode: 'interactive', ...input }, { target: 'box' })).error_code
    assert.equal(await code({ command: 'bash' }), 'MHV_TERMINAL_COMMAND_DENIED')
    assert.equal(await code({ command: 'cat; id' }), 'MHV_INPUT_INVALID')
    for (const more of [{ stdin: 'x' }, { cwd: '/' }, { env: { A: 'b' } }, { sudo: {} }, { detach: true }]) {
      assert.equal(await code({ command: 'cat', ...more }), 'MHV_INPUT_INVALID', JSON.stringify(more))
    }
    assert.equal(await code({ command: 'cat' }), null)
    assert.equal(await code({ command: 'cat' }), 'MHV_TERMINAL_LIMIT')
  })

  test('is refused where the policy does not allow terminal.start_interactive_session', async () => {
    await using strict = await instance({ denied: ['terminal.start_interactive_session'] })
    const ask = (input: object) => strict.invoke('ssh.execute', { command: 'true', ...input }, { target: 'box' })
    await assert.rejects(ask({ mode: 'interactive' }), {
      code: 'MHV_POLICY_DENIED',
      message: /terminal\.start_interactive_session/,
    })
    assert.equal((await ask({})).status, 'completed')
  })
})

suite('login shells of all kinds', { skip, timeout: 120_000 }, () => {
  for (const name of ['sh', 'bash', 'dash', 'fish', 'tcsh', 'zsh', 'ksh', 'mksh']) {
    const path = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim()
    test(`TTY-06: ${name}`, { skip: path === '' ? `${name} is not installed` : false }, async () => {
      const user = await makeUser({ shell: path })
      users.push(user)
      // Without it zsh asks a new user what it should have.
      await writeFile(join(user.home, '.zshrc'), '')
      await using own = await terminalInstance({ sshd, target: { user: user.name }, ssh: { kill_grace: 0.5 } })
      const session = await start(own)
      const mark = `95${process.pid}${name.length}9`
      await wait(own, session, { stable_ms: 400 })
      // By env: sleep is built into ksh.
      await own.data('send_keystrokes', { session, keys: `env sleep ${mark}\n`, delay_ms: 0 })
      const runs = await until(() => carrying(mark).length > 0)
      assert.ok(runs, JSON.stringify((await own.data('snapshot', { session })).lines))
      await own.data('send_signal', { session, signal: 15 })
      assert.ok(await until(() => carrying(mark).length === 0), 'the job has the signal')
      await wait(own, session, { stable_ms: 200 })
      await own.data('send_keystrokes', { session, keys: 'echo sti""ll $0\n', delay_ms: 0 })
      await wait(own, session, { text: 'still' })
      await own.data('close', { session })
      assert.ok(await until(() => carrying(user.home).length === 0), 'nothing is left')
    })
  }
})
