import { setTimeout as delay } from 'node:timers/promises'
import { startSshd } from './sshd.ts'
import { startWorker, targetOf } from './ssh-context.ts'
const sshd = await startSshd()
for (let round = 0; round < 6; round++) {
  const worker = await startWorker()
  const target = targetOf(sshd)
  const state: string[] = []
  const conns = new Map<any, number>()
  const chans: any[] = []
  for (let n = 0; n < 50; n++) {
    state[n] = 'waiting'
    ;(async () => {
      const lease = await worker.pool.acquire({ ...worker.pool.defaults, target, signal: new AbortController().signal })
      if (!conns.has(lease.connection)) conns.set(lease.connection, conns.size)
      state[n] = 'exec on ' + conns.get(lease.connection)
      const channel = await lease.exec('sleep 3')
      chans.push(channel)
      state[n] = 'open on ' + conns.get(lease.connection)
      channel.resume(); channel.stderr.resume()
    })().catch((e) => { state[n] = 'failed ' + e.code })
  }
  await delay(2500)
  console.log(round, JSON.stringify(worker.pool.stats()), state.filter((s) => !s.startsWith('open')))
  if (state.some((s) => s.startsWith('exec'))) {
    for (const [c, i] of conns) {
      const mgr = (c.client as any)._chanMgr
      console.log(i, Object.entries(mgr._channels).map(([id, ch]: any) => typeof ch === 'function' ? `${id}:opening` : `${id}:${ch.subtype ?? 'requested'}:${ch._callbacks.length}`).join(' '))
    }
  }
  await delay(1500)
  console.log('after', JSON.stringify(worker.pool.stats()))
  await worker.close()
}
console.log((await sshd.log()).split('\n').filter((l) => /refus|fail|error|max|exceed/i.test(l)).slice(0, 10).join('\n'))
await sshd.stop()
process.exit()
