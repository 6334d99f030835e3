import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { OutputSink, OutputStream } from '../../src/core/context.ts'
import { runDetached } from '../../src/workers/ssh/detached/run-detached.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import { endRuns } from '../helpers/processes.ts'
import { memorySink, operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** Long output over a connection whose keys are changed by the server again and again, and 10 GB of it. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker
const runs: string[] = []

before(async () => {
  if (skip) return
  sshd = await startSshd({ config: ['RekeyLimit 1M', 'LogLevel DEBUG1'] })
  worker = await startWorker()
})
after(async () => {
  if (skip) return
  await worker.close()
  await endRuns(runs)
  await sshd.stop()
})

const MEGABYTES = 24
/** Numbered lines, so that a byte that is missing, twice or elsewhere changes the sum. */
const COMMAND = `awk 'BEGIN { for (i = 0; i < ${MEGABYTES * 16_384}; i++) printf "%063d\\n", i }' &
awk 'BEGIN { for (i = 0; i < ${MEGABYTES * 16_384}; i++) printf "%063x\\n", i }' >&2; wait; exit 9`

function expected(radix: number): string {
  const sum = createHash('sha256')
  for (let i = 0; i < MEGABYTES * 16_384; i++) sum.update(`${i.toString(radix).padStart(63, '0')}\n`)
  return sum.digest('hex')
}

/** A sink that keeps the sums alone. */
function summingSink(slow?: () => Promise<void>): OutputSink & { readonly sums: () => Record<OutputStream, string> } {
  const sums = { stdout: createHash('sha256'), stderr: createHash('sha256') }
  return {
    async write(stream, bytes) {
      sums[stream].update(bytes)
      await slow?.()
    },
    collect: async () => ({ text: '', bytes: 0, dropped_bytes: 0, utf8: true }),
    sums: () => ({ stdout: sums.stdout.digest('hex'), stderr: sums.stderr.digest('hex') }),
  }
}

suite('SSH-09: keys that the server changes in the middle of long output, on both streams, change no byte', {
  skip,
}, () => {
  const rekeys = async () => (await sshd.log()).match(/rekey/gi)?.length ?? 0

  for (const [how, slow] of [
    ['read as fast as it comes', undefined],
    ['read slowly', () => delay(2)],
  ] as const) {
    test(`of an attached command, ${how}`, async () => {
      const before = await rekeys()
      const sink = summingSink(slow)
      const ctx = { ...operationContext(worker, targetOf(sshd)), output: sink }
      runs.push(ctx.run_id)
      assert.equal((await runCommand(ctx, { command: COMMAND })).exit_code, 9)
      assert.deepEqual(sink.sums(), { stdout: expected(10), stderr: expected(16) })
      assert.ok((await rekeys()) - before >= 10, `${(await rekeys()) - before} times`)
    })
  }

  test('of a detached command', async () => {
    const sink = summingSink()
    const ctx = { ...operationContext(worker, targetOf(sshd)), output: sink }
    runs.push(ctx.run_id)
    assert.equal((await runDetached(ctx, { command: COMMAND, detach: true })).exit_code, 9)
    assert.deepEqual(sink.sums(), { stdout: expected(10), stderr: expected(16) })
  })
})

suite('output without end', { skip }, () => {
  test('10 GB from a host: what is kept is bounded, the command waits, and the deadline ends it', async () => {
    const before = process.memoryUsage().rss
    const sink = memorySink({ keep: 1024 * 1024, write: () => delay(1) })
    const ctx = operationContext(worker, targetOf(sshd), { sink, timeoutMs: 3_000 })
    runs.push(ctx.run_id)
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 50)
    const running = runCommand(ctx, { command: 'head -c 10000000000 /dev/zero' })
    await assert.rejects(running, { code: 'MHV_SSH_COMMAND_TIMEOUT' })
    clearInterval(watch)
    assert.ok(peak - before < 120 * 1024 * 1024, `${Math.round((peak - before) / 1024 / 1024)} MiB more`)
  })

  test('10 GB into a detached command: the host keeps the limit, and it runs to its end', async () => {
    const ctx = operationContext(worker, targetOf(sshd), {
      settings: { detach_max_bytes: 1024 * 1024 },
      timeoutMs: 120_000,
    })
    runs.push(ctx.run_id)
    const data = await runDetached(ctx, { command: 'head -c 10000000000 /dev/zero; exit 2', detach: true })
    assert.deepEqual([data.exit_code, data.truncated, data.stdout.length], [2, true, 1024 * 1024])
    assert.ok(data.stdout_bytes > 9_990_000_000 && data.stdout_bytes <= 10_000_000_000, `${data.stdout_bytes}`)
  })
})
