import { setTimeout as delay } from 'node:timers/promises'
import { startSshd } from './sshd.ts'
import { startWorker, targetOf, operationContext } from './ssh-context.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import { connectSsh } from '../../src/workers/ssh/connect.ts'
import { carrying } from './processes.ts'
const sshd = await startSshd()
const made: any[] = []
let chans: any[] = []
const worker = await startWorker({ settings: { kill_grace: 0.3, connect_timeout: 2 }, parts: { connect: async (r, s) => { const c = await connectSsh(r, s); made.push(c); const ex = c.exec; (c as any).exec = async (l: string) => { const ch = await ex(l); const f = { ch, l: l.length, ev: [] as string[], t: Date.now() }; for (const e of ['end','close','exit','finish']) ch.on(e, () => f.ev.push(e + (Date.now()-f.t))); for (const e of ['end','close']) ch.stderr.on(e, () => f.ev.push('err-' + e + (Date.now()-f.t))); chans.push(f); return ch }; return c } } })
const dump = () => { for (const f of chans.filter((f) => !f.ev.some((e: string) => e.startsWith('close')))) console.log(f.l, f.ev.join(' '), 'in', f.ch.incoming.state, f.ch.outgoing.state, 'flow', f.ch.readableFlowing, f.ch.stderr.readableFlowing, 'len', f.ch.readableLength, f.ch.stderr.readableLength, 'ended', f.ch.readableEnded, f.ch._readableState.ended, f.ch._readableState.endEmitted, f.ch.listenerCount('end'), f.ch.listenerCount('close'), f.ch.readable, f.ch.destroyed) }
for (let round = 0; round < 15; round++) {
  chans = []
  const target = targetOf(sshd)
  const all = Array.from({ length: 50 }, () => operationContext(worker, target))
  const codes: string[] = []
  const running = all.map((run, n) => runCommand(run, { command: "trap '' TERM; while :; do sleep 0.2; done" }).catch((e) => { codes[n] = e.code + ' ' + JSON.stringify(e.details?.remote) }))
  for (let t = 0; t < 40; t++) { await delay(100); if (all.every((r) => carrying(r.run_id).length > 0)) break }
  const none = all.map((r, n) => carrying(r.run_id).length === 0 ? n : -1).filter((n) => n >= 0)
  console.log(round, 'not begun', none, codes, JSON.stringify(worker.pool.stats()))
  if (none.length) { dump(); break }
  for (const run of all) run.expire()
  await Promise.all(running)
  console.log(new Set(codes))
  await delay(500)
  const stats = worker.pool.stats()
  console.log(JSON.stringify(stats))
  if (stats.channels) { dump(); break }
}
await worker.close()
console.log((await sshd.log()).split('\n').filter((l) => /refus|fail|error|max|exceed/i.test(l)).slice(0, 10).join('\n'))
await sshd.stop()
process.exit()
