import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Composition, production } from '../../src/app.ts'
import type { Effect } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { createLedger, createProbeWorker } from '../../src/testing/probe-worker.ts'

/** The program as it is shipped, but with the probe as its only worker. */
export function probeComposition(
  options: Partial<Composition> & { readonly onAct?: (run_id: string, effect: Effect) => void } = {},
): Composition {
  const { onAct, ...rest } = options
  const ledger = createLedger()
  if (onAct !== undefined) ledger.onAct = onAct
  return { ...production(rest.registry ?? createRegistry([createProbeWorker(ledger)])), env: {}, ...rest }
}

/** A temporary instance folder with probe targets and a policy that allows everything. */
export async function probeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-probe-'))
  await mkdir(join(folder, 'settings'))
  await writeFile(
    join(folder, 'settings', 'inventory.yaml'),
    'version: 1\ntargets:\n  one: { tier: dev, probe: {} }\n  two: { tier: dev, probe: {} }\n',
  )
  await writeFile(
    join(folder, 'settings', 'policy.yaml'),
    'version: 1\nname: all\nrules:\n  - { id: all, decision: allow }\n',
  )
  return folder
}
