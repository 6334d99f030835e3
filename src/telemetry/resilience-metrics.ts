import { Counter, Gauge, type Registry } from './prometheus.ts'

/** What becomes of notifications. Returns a function that is told of each; destinations are names of the settings. */
export function observeNotifications(registry: Registry): (outcome: string, destination: string) => void {
  const counter = new Counter({
    name: 'mahavishnu_notifications_total',
    help: 'What became of notifications, by destination.',
    labelNames: ['destination', 'outcome'] as const,
    registers: [registry],
  })
  return (outcome, destination) => counter.inc({ destination, outcome })
}

interface LetterNumbers {
  readonly by_state: Readonly<Record<string, number>>
  readonly bytes: number
  readonly dropped: number
  readonly rejected: number
  readonly oldest_at: number | null
}

/** Dead letters as the journal has them, asked for when the metrics are. */
export function observeDeadLetters(registry: Registry, stats: () => Promise<LetterNumbers>): void {
  const registers = [registry]
  new Gauge({
    name: 'mahavishnu_dead_letters',
    help: 'Dead letters, by state.',
    labelNames: ['state'] as const,
    registers,
    async collect() {
      for (const [state, count] of Object.entries((await stats()).by_state)) this.set({ state }, count)
    },
  })
  new Gauge({
    name: 'mahavishnu_dead_letters_bytes',
    help: 'Bytes of all dead letters, as they count for the limit.',
    registers,
    async collect() {
      this.set((await stats()).bytes)
    },
  })
  new Gauge({
    name: 'mahavishnu_dead_letters_oldest_seconds',
    help: 'When the run of the oldest open dead letter failed, in seconds since the epoch; 0 where there is none.',
    registers,
    async collect() {
      this.set(((await stats()).oldest_at ?? 0) / 1000)
    },
  })
  new Gauge({
    name: 'mahavishnu_dead_letters_lost',
    help: 'Dead letters lost for want of room since the journal was made, by how.',
    labelNames: ['how'] as const,
    registers,
    async collect() {
      const { dropped, rejected } = await stats()
      this.set({ how: 'dropped' }, dropped)
      this.set({ how: 'rejected' }, rejected)
    },
  })
}
