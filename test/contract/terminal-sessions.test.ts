import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { carrying } from '../helpers/processes.ts'
import { sshdMissing } from '../helpers/sshd.ts'
import { remoteSessions } from '../helpers/terminal-remote.ts'
import { collect, local, readText, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

/** What a session has to do wherever its program runs: in the PTY host, and on a host behind the SSH worker. */

interface Kind {
  readonly sessions: PtySessions
  /** Starts a script in `sh`. */
  start(script: string): Promise<PtySession>
  close(): Promise<void>
}

const SETTINGS = { close_grace: 0.5, scrollback_bytes: 1_048_576 }

async function localKind(): Promise<Kind> {
  const folder = await terminalFolder()
  const sessions = await folder.sessions(SETTINGS)
  return { sessions, start: (script) => sessions.startLocal(local(['sh', '-c', script])), close: () => folder.end() }
}

const sshKind = (isolation: string) => async (): Promise<Kind> => {
  const { sessions, startRemote, close } = await remoteSessions(true, SETTINGS, isolation)
  return { sessions, start: startRemote, close }
}

function sessionContract(name: string, open: () => Promise<Kind>, skip: string | false): void {
  suite(`PtySession: ${name}`, { skip, timeout: 120_000 }, () => {
    let here: Kind
    before(async () => {
      here = await open()
    })
    after(() => here?.close())

    async function started(script: string) {
      const session = await here.start(script)
      const output = readText(session)
      const says = (text: string) => waitUntil(() => output.text().includes(text), 10_000, `${text}: ${output.text()}`)
      return { session, output, says }
    }

    test('a program has the size and the kind that were asked for, is typed to, and ends with its code', async () => {
      const { session, output, says } = await started('echo "$TERM $(stty size)"; read -r X; echo "<$X>"; exit 7')
      await says('xterm-256color 24 80')
      await session.write(Buffer.from('words ä宽\n'))
      const { exit_code, signal, reason } = await session.exited
      assert.deepEqual({ exit_code, signal, reason }, { exit_code: 7, signal: null, reason: 'exited' })
      assert.ok(output.text().endsWith('<words ä宽>\r\n'), output.text())
      assert.equal(session.exit()?.exit_code, 7)
      await assert.rejects(session.write(Buffer.from('x')), { code: 'MHV_TERMINAL_ENDED' })
      await assert.rejects(session.resize(10, 10), { code: 'MHV_TERMINAL_ENDED' })
      await assert.rejects(session.signal('SIGINT'), { code: 'MHV_TERMINAL_ENDED' })
      await session.close()
      assert.throws(() => here.sessions.get(session.info.id), { code: 'MHV_TERMINAL_UNKNOWN' })
    })

    test('TTY-01: not a byte is lost, with a slow reader and an end right after the output', async () => {
      const session = await here.start('stty -opost; seq 1 300000')
      const expected = await here.start('stty -opost; seq 1 300000 | sha256sum')
      const sum = readText(expected)
      const [{ sha256, bytes, exit }] = await Promise.all([
        collect(session, (piece) => (piece % 20 === 0 ? delay(5) : undefined)),
        expected.exited,
      ])
      assert.deepEqual([bytes, exit.exit_code], [1_988_895, 0])
      assert.equal(sum.text().slice(0, 64), sha256)
      await Promise.all([session.close(), expected.close()])
    })

    test('it is read from a cursor on, and says what the scrollback does not have any more', async () => {
      const { session, says } = await started(
        'stty -opost; printf abcdef; read -r X; seq 1 300000; printf done; sleep 100',
      )
      await says('abcdef')
      const first = await session.read(2, 3)
      assert.deepEqual([String(first.bytes), first.offset, first.lost_bytes, first.end], ['cde', 2, 0, 6])
      await session.write(Buffer.from('\n'))
      await says('done')
      const { offset, lost_bytes, end } = await session.read(4, 10)
      assert.equal(offset - lost_bytes, 4)
      assert.ok(lost_bytes > 500_000 && end > 1_988_895, `${lost_bytes} of ${end}`)
      const last = await session.read(end - 4)
      assert.equal(String(last.bytes), 'done')
      assert.equal(session.cursor(), end)
      await session.close()
    })

    test('TTY-05: a resize reaches the program and what it has started', async () => {
      const { session, says } = await started(
        `sh -c 'trap "echo inner \\$(stty size </dev/tty)" WINCH; echo in; while :; do sleep 0.05; done' & trap 'echo outer $(stty size)' WINCH; echo out; while :; do sleep 0.05; done`,
      )
      await says('in\r')
      await says('out\r')
      await session.resize(41, 123)
      assert.deepEqual(session.size(), { rows: 41, cols: 123 })
      await says('outer 41 123')
      await says('inner 41 123')
      await session.close()
    })

    test('TTY-06: each signal reaches the job in front, and neither the shell nor what runs behind it', async () => {
      const behind = `99${process.pid}1`
      const front = `99${process.pid}2`
      const { session, output, says } = await started('exec bash --norc --noprofile -i')
      await session.write(Buffer.from(`PS1='re''ady> '; trap 'echo shell got it' TERM QUIT HUP\n`))
      await says('ready> ')
      await session.write(Buffer.from(`sleep ${behind} &\n`))
      await waitUntil(() => carrying(behind).length > 0, 5_000, 'it runs behind')
      for (const [signal, code] of [
        ['SIGINT', 130],
        ['SIGQUIT', 131],
        ['SIGKILL', 137],
        ['SIGTERM', 143],
      ] as const) {
        await session.write(Buffer.from(`sleep ${front}\n`))
        await waitUntil(() => carrying(front).length > 0, 5_000, 'it runs in front')
        await session.signal(signal)
        await waitUntil(() => carrying(front).length === 0, 5_000, `${signal} ends it`)
        await session.write(Buffer.from('echo "code $?"\n'))
        await says(`code ${code}`)
      }
      await session.write(Buffer.from(`sleep ${front}\n`))
      await waitUntil(() => carrying(front).length > 0, 5_000, 'it runs in front')
      await session.signal('SIGTSTP')
      await says('Stopped')
      assert.doesNotMatch(output.text(), /shell got it\r/)
      assert.equal(carrying(behind).length, 1)
      await session.close()
      assert.deepEqual([...carrying(behind), ...carrying(front)], [], 'TTY-09: nothing of it is left')
    })

    test('the signal that ended a program has the same name everywhere', async () => {
      const { session, says } = await started('echo on; exec sleep 100')
      await says('on')
      await session.signal('SIGKILL')
      const { exit_code, signal, reason } = await session.exited
      assert.deepEqual({ exit_code, signal, reason }, { exit_code: null, signal: 'SIGKILL', reason: 'exited' })
      await session.close()
    })

    test('a program that reads nothing is not typed at without end', async () => {
      const { session, says } = await started('stty raw -echo; echo on; exec sleep 100')
      await says('on')
      const typed: Promise<void>[] = []
      const refused = Promise.withResolvers<{ code: string }>()
      for (let piece = 0; piece < 12; piece++) {
        const write = session.write(Buffer.alloc(500_000))
        typed.push(write.catch(refused.resolve))
        await Promise.race([write.catch(() => undefined), delay(50)])
      }
      assert.equal((await refused.promise).code, 'MHV_TERMINAL_INPUT_FULL')
      await session.close()
      await Promise.all(typed)
    })

    test('closed, it ends what ignores the end of its terminal; more than once is the same as once', async () => {
      const mark = `98${process.pid}7`
      const { session, says } = await started(`trap '' HUP; sleep ${mark} & echo on; sleep ${mark}`)
      await says('on')
      await Promise.all([session.close(), session.close()])
      assert.equal((await session.exited).reason, 'closed')
      assert.deepEqual(carrying(mark), [])
      await assert.rejects(session.write(Buffer.from('x')), { code: 'MHV_TERMINAL_ENDED' })
    })
  })
}

sessionContract('local', localKind, false)
for (const isolation of ['none', 'process']) {
  sessionContract(`over SSH, isolation: ${isolation}`, sshKind(isolation), sshdMissing() ?? false)
}
