import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { RemotePty, RemotePtyRequest, RemotePtySession } from '../core/ports.ts'

/** A port under test, and a host with a POSIX shell behind it. */
export interface RemotePtyUnderTest {
  readonly port: RemotePty
  /** Name of the host in the inventory. */
  readonly target: string
  /** Whether a process on that host has this text among its arguments. */
  runs(text: string): boolean
  close(): Promise<void>
}

interface Opened {
  readonly session: RemotePtySession
  said(): string
  readonly exited: Promise<{ readonly exit_code: number | null; readonly signal: string | null }>
}

const PATIENCE_MS = 10_000

/** What every implementation of RemotePty has to do. */
export function remotePtyContract(name: string, open: () => Promise<RemotePtyUnderTest>, skip: string | false): void {
  suite(`RemotePty: ${name}`, { skip }, () => {
    let here: RemotePtyUnderTest
    const sessions: RemotePtySession[] = []
    before(async () => {
      here = await open()
    })
    after(async () => {
      for (const session of sessions) await session.close()
      await here?.close()
    })

    async function start(more: Partial<RemotePtyRequest> = {}, slow?: () => Promise<void>): Promise<Opened> {
      const pieces: Uint8Array[] = []
      const exited = Promise.withResolvers<Awaited<Opened['exited']>>()
      const events = {
        async data(bytes: Uint8Array) {
          pieces.push(bytes)
          await slow?.()
        },
        exit: exited.resolve,
      }
      const request = { target: here.target, term: 'xterm-256color', rows: 30, cols: 100, ...more }
      const session = await here.port.open(request, events, new AbortController().signal)
      sessions.push(session)
      return { session, said: () => Buffer.concat(pieces).toString(), exited: exited.promise }
    }

    async function until(holds: () => boolean, what: () => string): Promise<void> {
      for (let waited = 0; !holds(); waited += 50) {
        assert.ok(waited < PATIENCE_MS, what())
        await delay(50)
      }
    }

    test('a command has a terminal of this kind and size; its end tells the exit code', async () => {
      const { said, exited } = await start({ command: 'tty >/dev/null && echo "$TERM $(stty size)"; exit 5' })
      assert.deepEqual(await exited, { exit_code: 5, signal: null })
      assert.match(said(), /xterm-256color 30 100/)
    })

    test('what is written is typed: a shell without a command answers, and ends', async () => {
      const { session, said, exited } = await start()
      await session.write(Buffer.from('echo $((40 + 2))x; exit 3\n'))
      assert.equal((await exited).exit_code, 3)
      assert.match(said(), /42x/)
    })

    test('another size reaches the program', async () => {
      const { session, said } = await start({ command: `trap 'stty size' WINCH; echo on; while :; do sleep 0.1; done` })
      await until(() => said().includes('on'), said)
      await session.resize(41, 123)
      await until(() => said().includes('41 123'), said)
      await session.close()
    })

    test('Ctrl-C ends the program in front', async () => {
      const { session, said, exited } = await start({ command: 'echo on; exec sleep 300' })
      await until(() => said().includes('on'), said)
      await session.write(Uint8Array.of(3))
      await exited
    })

    test('closed, its programs are told to hang up', async () => {
      const mark = `775${process.pid}771`
      const { session, exited } = await start({ command: `exec sleep ${mark}` })
      await until(
        () => here.runs(mark),
        () => 'it never ran',
      )
      await session.close()
      await exited
      await until(
        () => !here.runs(mark),
        () => 'it still runs',
      )
      await assert.rejects(session.write(Buffer.from('x')))
    })

    test('whoever takes its output slowly gets all of it, in order', async () => {
      const { said, exited } = await start({ command: 'stty -opost; seq 1 20000' }, () => delay(1))
      await exited
      assert.equal(said(), Array.from({ length: 20_000 }, (_, i) => `${i + 1}\n`).join(''))
    })

    test('what no terminal can have is refused', async () => {
      for (const bad of [{ rows: 0 }, { cols: 100_000 }, { term: 'x; rm' }, { command: 'a\0b' }]) {
        await assert.rejects(start(bad), { code: 'MHV_INPUT_INVALID' }, JSON.stringify(bad))
      }
      const { session } = await start({ command: 'sleep 5' })
      await assert.rejects(session.signal('NONE' as never), { code: 'MHV_INPUT_INVALID' })
      await session.close()
    })

    test('a signal reaches the job in front, and neither the shell nor what runs behind it', async () => {
      const mark = `776${process.pid}77`
      const { session, said, exited } = await start()
      await session.write(Buffer.from("PS1='re''ady> '; trap 'echo shell got it' TERM INT USR1\n"))
      await until(() => said().includes('ready> '), said)
      await session.write(Buffer.from(`sleep ${mark}1 & sleep ${mark}2; echo "ended $?"\n`))
      await until(() => here.runs(`${mark}2`), said)
      for (const name of ['TSTP', 'CONT'] as const) await session.signal(name)
      await until(() => said().includes('ended'), said)
      await session.write(Buffer.from(`fg %2; echo "front $?"\n`))
      await delay(300)
      await session.signal('TERM')
      await until(() => said().includes('front 143'), said)
      assert.doesNotMatch(said(), /shell got it\r/)
      assert.ok(here.runs(`${mark}1`) && !here.runs(`${mark}2`))
      await session.close()
      await exited
      await until(
        () => !here.runs(mark),
        () => 'what ran behind is still there',
      )
      await assert.rejects(session.signal('INT'))
    })

    test('two terminals: a signal reaches that of its own', async () => {
      const [one, other] = [
        await start({ command: 'echo on; exec sleep 300' }),
        await start({ command: 'echo on; exec sleep 300' }),
      ]
      for (const { said } of [one, other]) await until(() => said().includes('on'), said)
      await one.session.signal('KILL')
      assert.deepEqual(await one.exited, { exit_code: null, signal: 'KILL' })
      await one.session.ended()
      await other.session.signal('QUIT')
      assert.equal((await other.exited).signal, 'QUIT')
    })

    test('it tells whether the terminal hides what is typed', async () => {
      const { session, said } = await start({
        command: 'stty -echo; echo asked; read -r X; stty echo; echo told; sleep 300',
      })
      await until(() => said().includes('asked'), said)
      assert.equal(await session.echo(), 'hidden')
      await session.write(Buffer.from('x\n'))
      await until(() => said().includes('told'), said)
      assert.equal(await session.echo(), 'shown')
      const { session: shell, said: shellSaid } = await start({ command: `stty -echo -icanon; echo on; sleep 300` })
      await until(() => shellSaid().includes('on'), shellSaid)
      assert.equal(await shell.echo(), 'unknown')
      for (const each of [session, shell]) await each.close()
      assert.equal(await shell.echo(), 'unknown')
    })

    test('closed, it ends also what takes no notice of the end of its terminal', async () => {
      const mark = `778${process.pid}77`
      const { session, said, exited } = await start({ command: `trap '' HUP; sleep ${mark} & echo on; sleep ${mark}` })
      await until(() => said().includes('on') && here.runs(mark), said)
      await session.close()
      await exited
      assert.ok(!here.runs(mark), 'it still runs')
    })

    test('a target that is not there', async () => {
      await assert.rejects(start({ target: 'none-such' }), { code: 'MHV_TARGET_UNKNOWN' })
    })
  })
}
