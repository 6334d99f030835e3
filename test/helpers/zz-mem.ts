import { setTimeout as delay } from 'node:timers/promises'
import { startSshd } from './sshd.ts'
import { startWorker, targetOf, memorySink } from './ssh-context.ts'
import { pumpOutput } from '../../src/workers/ssh/output-pump.ts'
const sshd = await startSshd()
const worker = await startWorker()
const lease = await worker.pool.acquire({ ...worker.pool.defaults, target: targetOf(sshd), signal: new AbortController().signal })
const channel = await lease.exec(process.env.CMD ?? 'for n in $(seq 24); do head -c 2097152 /dev/zero; echo note >&2; done')
let most = 0, mostErr = 0, rss = 0; const start = process.memoryUsage().rss
const t = setInterval(() => { most = Math.max(most, channel.readableLength); mostErr = Math.max(mostErr, channel.stderr.readableLength); rss = Math.max(rss, process.memoryUsage().rss - start) }, 5)
const t0 = Date.now()
const pump = pumpOutput(channel, memorySink({ keep: 65536, write: (b) => delay(b.length / Number(process.env.RATE ?? 16384)) }), { push: (b) => b, end: () => Buffer.alloc(0) })
channel.eof()
await pump.done
console.log({ mostMB: most / 1e6, mostErr, rssMB: rss / 1e6, s: (Date.now() - t0) / 1000 })
clearInterval(t)
await worker.close(); await sshd.stop()
