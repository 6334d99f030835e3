import type { AnyWorker } from '../core/worker.ts'
import { mqtt } from './mqtt/index.ts'
import { ssh } from './ssh/index.ts'
import { terminal } from './terminal/index.ts'

/** All workers of this program, in the order in which they are shown. Another worker is one folder and one name here. */
export const workers: readonly AnyWorker[] = [ssh, terminal, mqtt]
