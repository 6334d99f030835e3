/** The workers of a storm, as the instance has them and as their own processes find them: `workers.ts?life=LIFE`. */
import type { AnyWorker } from '../../../src/core/worker.ts'
import { workers as shipped } from '../../../src/workers/index.ts'
import { createFarWorker } from './far-worker.ts'

const life = Number(new URL(import.meta.url).searchParams.get('life') ?? 0)

export const workers: readonly AnyWorker[] = [...shipped, createFarWorker(life)]
