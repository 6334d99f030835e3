import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import { leftOutLine } from '../core/left-out.ts'
import { createRegistry } from '../core/registry.ts'
import { createProbeWorker } from '../testing/probe-worker.ts'
import { createWorkerManager } from './manager.ts'
import { wholeOutput } from './manager-output.ts'

const principal = { id: 'user:test', kind: 'user' as const }

/** An instance that answers to nothing but the list of workers, and keeps its warnings. */
function refusingInstance() {
  const warnings: { readonly message: string; readonly code: unknown; readonly run_id: unknown }[] = []
  const instance = {
    registry: createRegistry([createProbeWorker()]),
    principal,
    invoke: async () => assert.fail('nothing is run'),
    async control({ name }: { name: string }) {
      if (name === 'worker_list') return { workers: [{ name: 'probe', targets: ['one'] }] }
      throw mhvError('MHV_POLICY_DENIED', `${name} is not for you`)
    },
    log: {
      debug: () => {},
      info: () => {},
      error: () => {},
      warn(message: string, fields: Readonly<Record<string, unknown>> = {}) {
        warnings.push({ message, code: (fields['error'] as MhvError).code, run_id: fields['run_id'] })
      },
    },
  }
  return { instance, warnings }
}

test('where the health cannot be asked for it is unknown, and why is logged', async () => {
  const { instance, warnings } = refusingInstance()
  const manager = createWorkerManager({ instance, clock: systemClock })
  await manager.spawn_workers('probe')
  const { status, open_breakers } = await manager.health_check()
  assert.deepEqual([status, open_breakers], ['unknown', []])
  const message = 'the health of the workers could not be asked for'
  assert.deepEqual(warnings, [{ message, code: 'MHV_POLICY_DENIED', run_id: undefined }])
})

test('where the journal cannot be asked for the whole of an output it stays cut, and why is logged', async () => {
  const { instance, warnings } = refusingInstance()
  const output = `begin${leftOutLine(9_000, 'bytes')}end`
  const run_id = '01K5E2W9QZ3V7M4T8N6R1XJYHB'
  assert.deepEqual(await wholeOutput(instance, principal, { run_id, output }, 1_000_000), { output, cut: true })
  const message = 'the whole output of a run could not be read from the journal'
  assert.deepEqual(warnings, [{ message, code: 'MHV_POLICY_DENIED', run_id }])
})
