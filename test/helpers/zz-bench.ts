import { connect } from 'node:net'
import { readFileSync } from 'node:fs'
import { ssh2, nativeCrypto } from '../../src/workers/ssh/ssh2-library.ts'
import { startSshd } from './sshd.ts'
import { startWorker, targetOf, operationContext } from './ssh-context.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'

const sshd = await startSshd({ config: ['SetEnv SHLVL=3'] })
const key = readFileSync(sshd.userKey)
const command = process.env.CMD ?? 'true'
function rawConnect(): Promise<any> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    const sock = connect({ host: sshd.host, port: sshd.port, noDelay: true })
    sock.once('connect', () => client.connect({ sock, username: 'root', privateKey: key, algorithms: { cipher: ['aes128-gcm@openssh.com'] } }))
    client.once('ready', () => resolve(client)).once('error', reject)
  })
}
function rawExec(client: any): Promise<void> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) return (error as any).reason === 2 ? setTimeout(() => rawExec(client).then(resolve, reject), 1) : reject(error)
      let code: number | undefined
      let out = ''
      channel.on('data', (d: Buffer) => { out += d })
      channel.stderr.on('data', (d: Buffer) => { out += d })
      channel.on('exit', (c: number) => { code = c })
      channel.on('close', () => (code === 0 ? resolve() : reject(new Error(`exit ${code}`))))
    })
  })
}
async function load(concurrency: number, total: number, one: (lane: number) => Promise<void>) {
  const times: number[] = []
  let left = total
  const t0 = performance.now(); const c0 = process.cpuUsage()
  await Promise.all(Array.from({ length: concurrency }, async (_, lane) => {
    while (left-- > 0) { const t = performance.now(); await one(lane); times.push(performance.now() - t) }
  }))
  const s = (performance.now() - t0) / 1000; const c = process.cpuUsage(c0)
  times.sort((a, b) => a - b)
  return { rate: total / s, p50: times[times.length >> 1]!, p95: times[Math.floor(times.length * 0.95)]!, cpu_us: (c.user + c.system) / total }
}
const show = (r: Awaited<ReturnType<typeof load>>) => `${r.rate.toFixed(0)}/s p50 ${r.p50.toFixed(2)} p95 ${r.p95.toFixed(2)} ms cpu ${r.cpu_us.toFixed(0)} us`
console.log('native', nativeCrypto)
for (const concurrency of (process.env.C ?? '1,10,50').split(',').map(Number)) {
  const conns = Math.ceil(concurrency / 8)
  const n = concurrency === 1 ? 500 : 1500
  const clients = await Promise.all(Array.from({ length: conns }, rawConnect))
  const worker = await startWorker()
  const target = targetOf(sshd)
  const raw = (lane: number) => rawExec(clients[lane % conns]!)
  const base = operationContext(worker, target)
  const utf8 = { text: '', bytes: 0, dropped_bytes: 0, utf8: true }
  const output = { write: async () => undefined, collect: async () => utf8 }
  const ours = async () => { await runCommand({ ...base, output } as any, { command }) }
  await load(concurrency, 100, raw); await load(concurrency, 100, ours)
  const rounds = []
  for (let i = 0; i < 3; i++) {
    const a = await load(concurrency, n, raw); const b = await load(concurrency, n, ours)
    rounds.push(b.rate / a.rate)
    console.log(concurrency, 'raw ', show(a)); console.log(concurrency, 'ours', show(b), 'ratio', (b.rate / a.rate).toFixed(3), 'conns', JSON.stringify(worker.pool.stats()))
  }
  for (const client of clients) client.end()
  await worker.close()
}
await sshd.stop()
process.exit(0)
