// Idle terminal sessions as the program that is installed has them: from dist, and without what loading TypeScript takes,
// which is some 17 MB in each of the two processes. Prints { host, own } in megabytes (10^6 bytes) as JSON.
//
//   node terminal-idle.mjs FOLDER COUNT look|leave
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../dist/core/clock.js'
import { followSession } from '../../dist/workers/terminal/screen/session-screen.js'
import { createPtySessions } from '../../dist/workers/terminal/sessions/manage-sessions.js'
import { terminalSettings } from '../../dist/workers/terminal/settings.js'

const SETTLE_MS = 2_000
const [folder = '', count = '1', look = 'leave'] = process.argv.slice(2)
const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** @param {number} pid */
function statusOf(pid) {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (/** @type {string} */ name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return { parent: field('PPid'), megabytes: (field('VmRSS') * 1024) / 1e6 }
}

const sessions = await createPtySessions({
  settings: terminalSettings.parse({
    directories: ['/'],
    max_sessions: 200,
    max_sessions_per_owner: 200,
    host_idle_timeout: 1,
  }),
  folder,
  clock: systemClock,
  log: silent,
  need: () => Promise.reject(new Error('no port here')),
})
const all = []
for (let each = 0; each < Number(count); each++) {
  const start = { owner: 'user:bench', run_id: 'BENCH', command: ['sh', '-i'], term: 'xterm-256color' }
  const session = await sessions.startLocal({ ...start, rows: 24, cols: 80 })
  all.push({ session, screen: followSession(session, { failed: () => undefined }) })
}
await delay(SETTLE_MS)
if (look === 'look') for (const { screen } of all) await screen.snapshot()
await delay(SETTLE_MS / 2)
const host = statusOf(statusOf(Number(all[0]?.session.info.pid)).parent).megabytes
process.stdout.write(JSON.stringify({ host, own: statusOf(process.pid).megabytes }))
for (const { session, screen } of all) {
  screen.dispose()
  await session.close()
}
await sessions.disconnect()
