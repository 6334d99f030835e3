import { Counter, Gauge, type Registry } from './prometheus.ts'

type Stats = Readonly<Record<string, number | string | boolean>> | undefined

/** Terminal sessions, asked for when the metrics are; nothing before the worker's first use. No session is a label. */
export function observeTerminal(registry: Registry, stats: () => Stats): void {
  const registers = [registry]
  new Gauge({
    name: 'mahavishnu_terminal_sessions',
    help: 'Terminal sessions whose program runs, by where it runs.',
    labelNames: ['kind'] as const,
    registers,
    collect() {
      this.reset()
      const now = stats()
      if (now === undefined) return
      for (const kind of ['local', 'remote']) this.set({ kind }, Number(now[kind] ?? 0))
    },
  })
  new Gauge({
    name: 'mahavishnu_terminal_watchers',
    help: 'Terminals that are attached to sessions.',
    registers,
    collect() {
      this.set(Number(stats()?.watchers ?? 0))
    },
  })
  for (const [key, help] of [
    ['started', 'Terminal sessions that were started.'],
    ['lost', 'Terminal sessions that were lost, with the PTY host or with the connection to their host.'],
  ] as const) {
    new Counter({
      name: `mahavishnu_terminal_sessions_${key}_total`,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(Number(stats()?.[`${key}_total`] ?? 0))
      },
    })
  }
}
