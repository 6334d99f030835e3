import { hash } from 'node:crypto'
import type { StandingSubscription } from './settings.ts'

/** Topics that a sampler remembers; beyond them the longest silent ones are forgotten, and begin anew. */
const MAX_TOPICS = 10_000
/** Characters of a topic that are remembered as they are; of longer ones it is a digest. */
const MAX_TOPIC = 300

interface Seen {
  count: number
  keptAt: number
}

/** Decides which messages of a standing subscription are kept: the first of each topic always. `now` is monotonic, in ms. */
export function createSampler({
  sample_every,
  min_interval,
}: Pick<StandingSubscription, 'sample_every' | 'min_interval'>) {
  const topics = new Map<string, Seen>()
  return {
    keeps(name: string, now: number): boolean {
      if (sample_every === 1 && min_interval === 0) return true
      // 10,000 topics of 64 KiB each would be a lot of memory.
      const topic = name.length > MAX_TOPIC ? hash('sha256', name, 'base64') : name
      const seen = topics.get(topic)
      topics.delete(topic)
      const count = (seen?.count ?? 0) + 1
      const due =
        seen === undefined || (count % sample_every === 1 % sample_every && now - seen.keptAt >= min_interval * 1000)
      topics.set(topic, { count, keptAt: due ? now : seen.keptAt })
      if (topics.size > MAX_TOPICS) topics.delete(topics.keys().next().value as string)
      return due
    },
  }
}
