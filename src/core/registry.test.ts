import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { z } from 'zod'
import { createProbeWorker } from '../testing/probe-worker.ts'
import { EFFECTS, ENVELOPE_NAMES, narrower, type OperationSpec } from './operation.ts'
import { createRegistry } from './registry.ts'
import type { AnyWorker } from './worker.ts'

const probe: AnyWorker = createProbeWorker()
const [look] = probe.operations as [OperationSpec]

/** The probe with one operation, changed. */
function worker(changes: Partial<OperationSpec> = {}, ofWorker: Partial<AnyWorker> = {}): AnyWorker {
  return { ...probe, ...ofWorker, operations: [{ ...look, ...changes }] }
}

const wrong: readonly (readonly [what: string, workers: readonly AnyWorker[], message: RegExp])[] = [
  ['two workers of one name', [worker(), worker({ id: 'probe.other' })], /two of worker "probe"/],
  ['two operations of one name', [{ ...probe, operations: [look, look] }], /two of operation "probe\.look"/],
  ['a worker with a name that is none', [worker({}, { name: 'Probe-1' })], /must be named/],
  ['a worker with an empty name', [worker({}, { name: '', operations: [] })], /must be named/],
  ["an operation under another worker's name", [worker({ id: 'other.look' })], /must be named "probe\.verb"/],
  ['an operation with two dots', [worker({ id: 'probe.look.twice' })], /must be named/],
  ['an operation with a dash', [worker({ id: 'probe.look-twice' })], /must be named/],
  ['an operation without a verb', [worker({ id: 'probe' })], /must be named/],
  ...ENVELOPE_NAMES.map(
    (name) =>
      [
        `the name "${name}" of the envelope`,
        [worker({ input: z.object({ [name]: z.string().optional() }) })],
        /names of the envelope/,
      ] as const,
  ),
  ['an effect that there is not', [worker({ effect: 'delete' as 'read' })], /no known effect/],
  ['no time to run in', [worker({ timeout: 0 })], /no time/],
  ['a time that is no number', [worker({ timeout: Number.NaN })], /no time/],
  ['no example', [worker({ examples: [] })], /no example/],
  ['an example that does not fit', [worker({ examples: [{ title: 'x', input: { value: 1 } }] })], /expected string/],
  ['an example with an unknown field', [worker({ examples: [{ title: 'x', input: { valeu: 'a' } }] })], /"valeu"/],
  [
    'attempts of a strategy that makes none',
    [
      worker(
        {},
        { recovery: { codes: { MHV_EXEC_FAILED: { strategy: 'rollback', max_attempts: 2 } }, categories: {} } },
      ),
    ],
    /"rollback" with 2 attempts for MHV_EXEC_FAILED/,
  ],
  [
    'a retry without attempts',
    [worker({}, { recovery: { codes: {}, categories: { network: { strategy: 'retry', max_attempts: 0 } } } })],
    /"retry" with 0 attempts for network/,
  ],
  ['a command line for no field', [worker({ cli: { rest: 'words' as never } })], /"words"/],
]

suite('registry', () => {
  for (const [what, workers, message] of wrong) {
    test(`refuses ${what}`, () => {
      assert.throws(() => createRegistry(workers), message)
    })
  }

  test('refuses an input that comes out of the journal as something else', () => {
    const input = z.object({ value: z.string().transform((text) => `${text}!`) })
    const changed = worker({
      input: input as unknown as OperationSpec['input'],
      examples: [{ title: 'x', input: { value: 'a' } }],
    })
    assert.throws(() => createRegistry([changed]), /journal would change/)
    // Only where somebody says that it was looked at before.
    assert.equal(createRegistry([changed], { examplesAreKnown: true }).workers[0], changed)
  })

  test('finds workers and operations by name, and suggests what was meant', () => {
    const registry = createRegistry([probe])
    assert.equal(registry.worker('probe'), probe)
    assert.equal(registry.operation('probe.touch').verb, 'touch')
    assert.throws(() => registry.worker('prope'), { code: 'MHV_WORKER_UNKNOWN', message: /did you mean "probe"\?/ })
    assert.throws(() => registry.operation('probe.tuch'), {
      code: 'MHV_OPERATION_UNKNOWN',
      message: /did you mean "probe\.touch"\?/,
    })
    for (const name of ['__proto__', 'constructor', '', 'x'.repeat(1_000_000)]) {
      assert.throws(() => registry.operation(name), { code: 'MHV_OPERATION_UNKNOWN', message: /^.{0,200}$/ })
    }
  })
})

suite('effects', () => {
  test('effectOf can only narrow', () => {
    for (const declared of EFFECTS) {
      for (const other of EFFECTS) {
        const smaller = EFFECTS[Math.min(EFFECTS.indexOf(declared), EFFECTS.indexOf(other))]
        assert.equal(narrower(declared, other), smaller)
      }
      assert.equal(narrower(declared, 'nothing' as 'read'), declared)
    }
  })
})
