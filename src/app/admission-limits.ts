import { z } from 'zod'
import type { Inventory } from '../config/inventory.ts'
import { type LoadedSettings, settingsFor } from '../config/layers.ts'
import type { Registry } from '../core/registry.ts'
import { type Admission, type AdmissionLimits, createAdmission, type LevelName } from '../resilience/admission.ts'
import type { RuntimeParts } from '../runtime/runtime.ts'
import { observeAdmission } from '../telemetry/admission-metrics.ts'

interface AdmissionSetting {
  readonly loaded: LoadedSettings
  readonly inventory: Inventory
}

/** Admission with the limits that settings and inventory give, and its metrics. */
export function admissionOf(
  registry: Registry,
  setting: AdmissionSetting,
  { clock, metrics }: Pick<RuntimeParts, 'clock' | 'metrics'>,
): Admission {
  const observed = observeAdmission(
    metrics.registry,
    registry.workers.map(({ name }) => name),
    () => admission,
  )
  const admission = createAdmission({
    clock,
    limitsOf: (level) => limitsOf(registry, setting, level),
    agingSeconds: setting.loaded.values.admission.aging_seconds,
    observe: observed,
  })
  return admission
}

/** A target's own block may override what the settings have for targets; all else stands in the settings. */
function limitsOf(registry: Registry, { loaded, inventory }: AdmissionSetting, level: LevelName): AdmissionLimits {
  const { admission } = loaded.values
  if (level.kind === 'worker') return settingsFor(loaded, registry.worker(level.worker)).admission
  if (level.kind === 'process') return admission
  if (level.kind === 'principal') return admission.principal
  const { overrides } = inventory.resolve(level.target, level.worker)
  return { ...admission.target, ...ownLimits.parse(overrides).admission }
}

/** They were checked when the inventory was read. */
const ownLimits = z.object({ admission: z.custom<Partial<AdmissionLimits>>().optional() })
