import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { RemoteExec, RemoteExecRequest } from '../core/ports.ts'

/** A port under test, and a host with a POSIX shell behind it. */
export interface RemoteExecUnderTest {
  readonly port: RemoteExec
  /** Name of the host in the inventory. */
  readonly target: string
  /** Whether a process on that host has this text among its arguments. */
  runs(text: string): boolean
  close(): Promise<void>
}

/** What every implementation of RemoteExec has to do. */
export function remoteExecContract(name: string, open: () => Promise<RemoteExecUnderTest>, skip: string | false): void {
  suite(`RemoteExec: ${name}`, { skip }, () => {
    let here: RemoteExecUnderTest
    before(async () => {
      here = await open()
    })
    after(() => here?.close())

    const exec = (command: string, more: Partial<RemoteExecRequest> = {}, signal = new AbortController().signal) =>
      here.port.exec(
        { target: here.target, command, deadline: Date.now() + 30_000, maxBytes: 1_000_000, ...more },
        signal,
      )
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
    const rejected = (running: Promise<unknown>) =>
      running.then(
        () => assert.fail('it was done'),
        (error: Error & { code: string }) => error,
      )

    test('both streams and the exit code, which is a result and no failure', async () => {
      const { stdout, stderr, exit_code, signal, dropped_bytes } = await exec('echo out; echo err >&2; exit 3')
      assert.deepEqual([text(stdout), text(stderr)], ['out\n', 'err\n'])
      assert.deepEqual([exit_code, signal, dropped_bytes], [3, null, 0])
    })

    test('bytes of standard input and of both streams, none of them changed', async () => {
      const all = Uint8Array.from({ length: 256 * 256 }, (_, i) => (i * 7 + (i >> 8)) % 256)
      const { stdout, stderr } = await exec('tee /dev/stderr', { stdin: all })
      assert.equal(Buffer.compare(stdout, all), 0)
      assert.equal(Buffer.compare(stderr, all), 0)
    })

    test('variables arrive as they are, and the working directory is entered', async () => {
      const env = { A: 'it\'s $HOME `x`\n"', B: 'ü' }
      const { stdout } = await exec('printf "%s|%s|%s" "$A" "$B" "$PWD"', { env, cwd: '/usr' })
      assert.equal(text(stdout), `${env.A}|${env.B}|/usr`)
    })

    test('standard input is empty where none is given', async () => {
      assert.equal(text((await exec('wc -c', {})).stdout).trim(), '0')
    })

    test('keeps so many bytes of each stream, and counts the rest', async () => {
      const { stdout, stderr, dropped_bytes } = await exec('head -c 300000 /dev/zero; head -c 50 /dev/zero >&2', {
        maxBytes: 100,
      })
      assert.deepEqual([stdout.length, stderr.length, dropped_bytes], [100, 50, 299_900])
    })

    test('a signal that ended it has a name and no exit code', async () => {
      const { exit_code, signal } = await exec('kill -KILL $$')
      assert.deepEqual([exit_code, signal], [null, 'KILL'])
    })

    test('at its deadline it is ended on the host', async () => {
      const mark = `774${process.pid}771`
      const error = await rejected(exec(`sleep ${mark}`, { deadline: Date.now() + 700 }))
      assert.ok(error.code, String(error))
      assert.equal(here.runs(mark), false)
    })

    test('when its signal is aborted it is ended on the host', async () => {
      const mark = `774${process.pid}772`
      const controller = new AbortController()
      const running = rejected(exec(`sleep ${mark}`, {}, controller.signal))
      for (let tries = 0; tries < 100 && !here.runs(mark); tries++) await delay(50)
      assert.ok(here.runs(mark), 'it runs')
      controller.abort(new Error('enough'))
      await running
      assert.equal(here.runs(mark), false)
    })

    test('a target that is not there is told from one that cannot be reached', async () => {
      assert.equal((await rejected(exec('true', { target: 'none-such' }))).code, 'MHV_TARGET_UNKNOWN')
    })

    test('many at once', async () => {
      const numbers = Array.from({ length: 20 }, (_, i) => i)
      const all = await Promise.all(numbers.map((i) => exec(`echo ${i}`)))
      assert.deepEqual(
        all.map(({ stdout }) => text(stdout)),
        numbers.map((i) => `${i}\n`),
      )
    })
  })
}
