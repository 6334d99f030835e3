import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { ClientChannel } from 'ssh2'
import type { ExecuteInput } from '../../src/workers/ssh/execute.ts'
import { pumpOutput } from '../../src/workers/ssh/output-pump.ts'
import { pingTarget } from '../../src/workers/ssh/ping.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshTarget } from '../../src/workers/ssh/settings.ts'
import { createStartScanner, newMarker } from '../../src/workers/ssh/start-report.ts'
import { until } from '../helpers/processes.ts'
import {
  type MemorySink,
  memorySink,
  operationContext,
  startWorker,
  type TestWorker,
  targetOf,
} from '../helpers/ssh-context.ts'
import { HOSTILE } from '../helpers/ssh-hostile-values.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** `ssh.execute` against OpenSSH's sshd: what goes in, what comes out. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker

before(async () => {
  if (skip) return
  sshd = await startSshd()
  worker = await startWorker()
})
after(async () => {
  if (skip) return
  await worker.close()
  await sshd.stop()
})

const execute = (input: ExecuteInput, options: Parameters<typeof operationContext>[2] = {}) =>
  runCommand(operationContext(worker, targetOf(sshd), options), input)

test('output, exit code and process come back; a non-zero exit is a result', { skip }, async () => {
  const { pid, ...data } = await execute({ command: 'echo out; echo err >&2; exit 3' })
  assert.deepEqual(data, {
    stdout: 'out\n',
    stderr: 'err\n',
    exit_code: 3,
    signal: null,
    stdout_bytes: 4,
    stderr_bytes: 4,
    truncated: false,
    utf8: true,
  })
  assert.ok(pid > 1)
  assert.equal((await execute({ command: 'exit 255' })).exit_code, 255)
  assert.equal((await execute({ command: 'no-such-program-here' })).exit_code, 127)
  assert.equal((await execute({ command: 'if then' })).exit_code, 2)
})

test('a command that a signal ended has its name instead of an exit code', { skip }, async () => {
  for (const name of ['KILL', 'TERM', 'SEGV']) {
    const { exit_code, signal } = await execute({ command: `kill -${name} $$` })
    assert.deepEqual({ exit_code, signal }, { exit_code: null, signal: name })
  }
})

test('the reported process is the shell of the command and leads its session', { skip }, async () => {
  const { stdout, pid } = await execute({ command: 'echo $$; cut -d" " -f6 /proc/$$/stat' })
  assert.equal(stdout, `${pid}\n${pid}\n`)
})

test('standard input arrives whole and ends; without any it is empty', { skip }, async () => {
  assert.equal((await execute({ command: 'cat' })).stdout, '')
  assert.equal((await execute({ command: 'cat', stdin: '' })).stdout, '')
  assert.equal((await execute({ command: 'cat', stdin: 'a\0ü\n' })).stdout, 'a\0ü\n')
  const large = randomBytes(3 * 1024 * 1024).toString('hex')
  const { stdout } = await execute({ command: 'sha256sum', stdin: large })
  assert.equal(stdout.split(' ')[0], createHash('sha256').update(large).digest('hex'))
})

test('a command that does not read its standard input neither hangs nor fails', { skip }, async () => {
  const large = 'x'.repeat(6 * 1024 * 1024)
  assert.equal((await execute({ command: 'exit 4', stdin: large })).exit_code, 4)
  assert.equal((await execute({ command: 'head -c 3', stdin: large })).stdout, 'xxx')
  assert.equal((await execute({ command: 'exec <&-; sleep 0.2; echo done', stdin: large })).stdout, 'done\n')
})

test('SSH-04: hostile values of variables and standard input arrive byte-identical', { skip }, async () => {
  const names = HOSTILE.map((_, index) => `V${index}`)
  const env = Object.fromEntries(names.map((name, index) => [name, HOSTILE[index] ?? '']))
  const command = `printf '%s\\0' ${names.map((name) => `"$${name}"`).join(' ')}; cat`
  const stdin = `${HOSTILE.join('\0')}\0`
  const sink = memorySink()
  await execute({ command, env, stdin }, { sink })
  assert.deepEqual(sink.bytes('stdout'), Buffer.from(stdin + stdin))
})

test('the environment reaches the command and what it starts, beside the id of the run', { skip }, async () => {
  const ctx = operationContext(worker, targetOf(sshd))
  const data = await runCommand(ctx, { command: 'env | grep -E "^(A|MAHAVISHNU_RUN_ID)=" | sort', env: { A: 'x y' } })
  assert.equal(data.stdout, `A=x y\nMAHAVISHNU_RUN_ID=${ctx.run_id}\n`)
})

test('a working directory is entered; one that cannot be stops the command before it starts', { skip }, async () => {
  assert.equal((await execute({ command: 'pwd', cwd: '/usr/bin' })).stdout, '/usr/bin\n')
  await assert.rejects(
    execute({ command: 'touch /tmp/never', cwd: '/no/such/place' }),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'MHV_SSH_CWD_FAILED')
      assert.match(error.message, /No such file/)
      return true
    },
  )
})

test('a variable that the shell keeps for itself stops the command before it starts', { skip }, async () => {
  // The input schema refuses the well-known ones; a profile can make others.
  await assert.rejects(execute({ command: 'echo ran', env: { BASHOPTS: 'x' } }), { code: 'MHV_SSH_ENV_FAILED' })
})

test('bytes that are not text are passed on as they are, and said to be none', { skip }, async () => {
  const sink = memorySink()
  const data = await execute({ command: "printf 'a\\000\\377\\376b'" }, { sink })
  assert.deepEqual(sink.bytes('stdout'), Buffer.from([0x61, 0, 0xff, 0xfe, 0x62]))
  assert.deepEqual([data.utf8, data.stdout_bytes], [false, 5])
})

test('the longest command there may be, and longer variables than fit a line', { skip }, async () => {
  const tail = '; echo "$BIG" | wc -c; cat'
  const command = `: ${'x'.repeat(131_072 - 2 - tail.length)}${tail}`
  assert.equal(command.length, 131_072)
  const data = await execute({ command, env: { BIG: 'y'.repeat(32_768) }, stdin: 'own' })
  assert.equal(data.stdout, '32769\nown')
})

test('fifty commands at once: nobody gets the output of another', { skip }, async () => {
  // They take long enough for a second connection to be made, however busy the machine is.
  const command = (n: number) => ({ command: `echo ${n}; cat; sleep 0.5; exit ${n}`, stdin: `in ${n}` })
  const all = Array.from({ length: 50 }, (_, n) => execute(command(n)))
  const results = await Promise.all(all)
  results.forEach(({ stdout, exit_code }, n) => {
    assert.deepEqual({ stdout, exit_code }, { stdout: `${n}\nin ${n}`, exit_code: n })
  })
  assert.ok((worker.pool.stats().connections as number) > 1)
  assert.ok(await until(() => worker.pool.stats().channels === 0), 'all places are free again')
})

test('every exit status of hundreds of quick commands arrives', { skip }, async () => {
  let left = 300
  const lane = async () => {
    while (left-- > 0) assert.equal((await execute({ command: 'exit 7' })).exit_code, 7)
  }
  await Promise.all(Array.from({ length: 10 }, lane))
})

/** The most memory beyond what there was, in megabytes, while something is done. */
async function memoryWhile(work: () => Promise<unknown>): Promise<number> {
  const start = process.memoryUsage().rss
  let most = start
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss)
  }, 10)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return (most - start) / 1024 / 1024
}

test('256 MB of output take little memory (1 GB is for the soak)', { skip }, async () => {
  const bytes = 256 * 1024 * 1024
  const sink = memorySink({ keep: 64 * 1024 })
  const used = await memoryWhile(async () => {
    const data = await execute({ command: `head -c ${bytes} /dev/zero` }, { sink, timeoutMs: 120_000 })
    assert.deepEqual([data.stdout_bytes, data.truncated], [bytes, true])
  })
  assert.ok(used < 120, `${used.toFixed(0)} MB`)
})

/** Runs a command that writes 20 MB on one stream and a little on the other into a slow sink; the most bytes held. */
async function mostHeld(pump: (channel: ClientChannel, sink: MemorySink) => Promise<void>): Promise<number> {
  const sink = memorySink({ keep: 64 * 1024, write: (bytes) => delay(bytes.length / 16_384) })
  const call = { ...worker.pool.defaults, target: targetOf(sshd), signal: new AbortController().signal }
  const lease = await worker.pool.acquire(call)
  const channel = await lease.exec('for n in $(seq 20); do head -c 1048576 /dev/zero; sleep 0.01; echo note >&2; done')
  let most = 0
  const timer = setInterval(() => {
    most = Math.max(most, channel.readableLength + channel.stderr.readableLength)
  }, 2)
  await pump(channel, sink)
  clearInterval(timer)
  return most
}

test('a slow reader of the output slows the command down instead of filling the memory, on both streams', {
  skip,
}, async () => {
  const scanner = createStartScanner(newMarker())
  const most = await mostHeld((channel, sink) => pumpOutput(channel, sink, scanner).done)
  assert.ok(most < 5_000_000, `${most} bytes`)

  // Negative control: pausing both streams, which is what one would think to do, holds what comes until the connection
  // is broken off for it.
  const paused = await mostHeld(async (channel, sink) => {
    const ended = Promise.all([once(channel, 'close'), once(channel.stderr, 'close')])
    channel.on('data', async (bytes: Buffer) => {
      channel.pause()
      channel.stderr.pause()
      await sink.write('stdout', bytes)
      channel.resume()
      channel.stderr.resume()
    })
    channel.stderr.resume()
    await ended
  })
  assert.ok(paused > 7_000_000, `${paused} bytes`)
})

test('output that cannot be kept ends the command on the host', { skip }, async () => {
  const sink = memorySink({
    write: async () => {
      throw new Error('disk full')
    },
  })
  const ctx = operationContext(worker, targetOf(sshd), { sink })
  await assert.rejects(
    runCommand(ctx, { command: 'echo a; sleep 300' }),
    (error: Error & { code?: string; details?: object }) => {
      assert.equal(error.code, 'MHV_INTERNAL')
      assert.match(error.message, /disk full/)
      assert.deepEqual(
        { ...error.details, pid: 0 },
        { output_error: 'MHV_INTERNAL', remote: 'ended', left_session: [], still_running: [], pid: 0 },
      )
      return true
    },
  )
})

test('MaxSessions 2: the limit is found out and all commands are run', { skip }, async () => {
  const small = await startSshd({ maxSessions: 2 })
  try {
    const ctx = () =>
      operationContext(worker, targetOf(small), {
        settings: { max_connections_per_host: 2, pool_backpressure: 'wait' },
      })
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, n) => runCommand(ctx(), { command: `sleep 0.02; echo ${n}` })),
    )
    assert.deepEqual(
      results.map(({ stdout }) => Number(stdout)),
      Array.from({ length: 30 }, (_, n) => n),
    )
  } finally {
    await small.stop()
  }
})

test('MaxSessions 0: no channel is ever given', { skip }, async () => {
  const none = await startSshd({ maxSessions: 0 })
  try {
    await assert.rejects(runCommand(operationContext(worker, targetOf(none)), { command: 'true' }), {
      code: 'MHV_SSH_CHANNEL_REFUSED',
    })
  } finally {
    await none.stop()
  }
})

test('a ping runs a command that does nothing', { skip }, async () => {
  const { settings } = worker.pool.defaults
  const looked = (address: SshTarget) => ({ name: 'box', address, settings })
  const { signal } = new AbortController()
  assert.equal((await pingTarget(worker.pool, looked(targetOf(sshd)), signal)).healthy, true)
  const nobody = await pingTarget(worker.pool, looked(targetOf(sshd, { port: 1 })), signal)
  assert.equal(nobody.healthy, false)
  assert.match(nobody.message, /^MHV_SSH_CONNECT_REFUSED: 127\.0\.0\.1:1 /)
})

test('a server that changes its keys every megabyte is of no consequence', { skip }, async () => {
  const rekeying = await startSshd({ config: ['RekeyLimit 1M'] })
  try {
    const sink = memorySink()
    const stdin = randomBytes(2_500_000).toString('hex')
    await runCommand(operationContext(worker, targetOf(rekeying), { sink }), { command: 'cat', stdin })
    assert.equal(sink.bytes('stdout').toString(), stdin)
  } finally {
    await rekeying.stop()
  }
})
