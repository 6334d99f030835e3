/**
 * Writes to a journal from several callers at once until it is killed, and says on stdout what was acknowledged: one
 * line `run N EVENTS`, `state N VALUE` or `output N CHUNKS` each. Arguments: the journal's file, the number of the
 * first run, and `honest` or `hasty` (says it before it is true, and kills itself there: the test's own control).
 */
import { writeSync } from 'node:fs'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { keyedRun, sampleEnd, sampleEvent, sampleId } from '../../src/testing/store-samples.ts'

const CALLERS = 8
const [path = '', first = '0', manner = 'honest'] = process.argv.slice(2)

const store = await openSqliteStore({ path })
let next = Number(first)

const pause = new Int32Array(new SharedArrayBuffer(4))

function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`)
      return
    } catch (error) {
      // The reader is slow, not gone: a line is short enough to be written whole or not at all.
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      Atomics.wait(pause, 0, 0, 5)
    }
  }
}

async function writeRun(n: number): Promise<void> {
  const run_id = sampleId(n)
  const run = keyedRun(n, `key-${n}`, { events: [sampleEvent('accepted'), sampleEvent('started')] })
  const idempotency = { key: `key-${n}`, digest: 'd1', expires_at: Number.MAX_SAFE_INTEGER }
  await store.createRun({ ...run, idempotency })
  say(`run ${n} 2`)
  await store.appendOutput(run_id, [{ stream: 'stdout', bytes: Buffer.alloc(300 + (n % 5000), n), gap_bytes: 0 }])
  say(`output ${n} 1`)
  await store.appendEvents(run_id, [sampleEvent('progress', { n })])
  say(`run ${n} 3`)
  const end = sampleEnd('completed', { output: 'x'.repeat(n % 3000) })
  await store.changeRun({ run_id, from: ['running'], to: 'completed', end, events: [sampleEvent('finished')] })
  say(`run ${n} 4`)
}

async function call(caller: number): Promise<never> {
  for (let value = 1; ; value += 1) {
    const n = next
    next += 1
    await writeRun(n)
    await store.stateSet('chaos', String(caller), { value, run: n })
    say(`state ${caller} ${n}`)
  }
}

if (manner === 'hasty') {
  await writeRun(next)
  void store.createRun(keyedRun(next + 1, 'k'))
  say(`run ${next + 1} 2`)
  process.kill(process.pid, 'SIGKILL')
}
await Promise.all(Array.from({ length: CALLERS }, (_, caller) => call(caller)))
