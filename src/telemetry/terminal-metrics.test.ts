import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Registry } from './prometheus.ts'
import { observeTerminal } from './terminal-metrics.ts'

test('sessions are told by where they run, and by nothing that grows', async () => {
  const registry = new Registry()
  let stats: Record<string, number> | undefined
  observeTerminal(registry, () => stats)
  assert.doesNotMatch(await registry.metrics(), /^mahavishnu_terminal_sessions\{/m)
  stats = { local: 2, remote: 1, watchers: 3, started_total: 7, lost_total: 1, sessions: 3, ended: 0 }
  const lines = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  assert.deepEqual(lines, [
    'mahavishnu_terminal_sessions{kind="local"} 2',
    'mahavishnu_terminal_sessions{kind="remote"} 1',
    'mahavishnu_terminal_watchers 3',
    'mahavishnu_terminal_sessions_started_total 7',
    'mahavishnu_terminal_sessions_lost_total 1',
  ])
})
