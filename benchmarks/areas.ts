import type { Area } from './harness/area.ts'
import { journal } from './journal.ts'

/** Everything that is measured, in the order in which it is. */
export const AREAS: readonly Area[] = [journal]
