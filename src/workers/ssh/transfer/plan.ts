import { badTarget } from './errors.ts'
import { MAX_ENTRIES } from './names.ts'
import type { Item, Plan, Skipped } from './types.ts'

/** Gathers what is to be done, and what is not, within the limits. */
export interface PlanBuilder {
  add(item: Item): void
  skip(skipped: Skipped): void
  done(): Plan
}

/** @param targetOf what two items must not have in common */
export function createPlan(targetOf: (item: Item) => string): PlanBuilder {
  const items: Item[] = []
  const skipped: Skipped[] = []
  const targets = new Set<string>()
  const room = (path: string) => {
    if (items.length + skipped.length >= MAX_ENTRIES)
      throw badTarget(path, `is one more than the ${MAX_ENTRIES} entries of one transfer: name its parts one by one`)
  }
  return {
    add(item) {
      const target = targetOf(item)
      room(target)
      if (targets.has(target)) {
        if (item.kind === 'directory') return
        throw badTarget(target, 'is the target of two files of this transfer')
      }
      targets.add(target)
      items.push(item)
    },
    skip(one) {
      room(one.local)
      skipped.push(one)
    },
    done: () => ({ items, skipped }),
  }
}
