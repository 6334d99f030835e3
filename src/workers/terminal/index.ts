import { defineWorker } from '../../core/worker.ts'
import { attach } from './operations/attach.ts'
import { close, list, resize, signal } from './operations/control.ts'
import { read, snapshot, wait } from './operations/look.ts'
import { replay } from './operations/replay.ts'
import { run } from './operations/run.ts'
import { runAi } from './operations/run-ai.ts'
import { send } from './operations/send.ts'
import { start } from './operations/start.ts'
import { terminalPorts } from './ports/provided.ts'
import type { TerminalConnection } from './sessions/hub.ts'
import { terminalSettings, terminalTarget } from './settings.ts'

export const terminal = defineWorker<typeof terminalSettings, typeof terminalTarget, TerminalConnection>({
  name: 'terminal',
  title: 'Interactive terminals',
  description:
    'Runs programs in real terminals, on this machine or on hosts over SSH, that agents and people drive, watch and ' +
    'replay. Local sessions live in a process of their own and go on while Mahavishnu restarts.',
  environment: ['USER', 'LOGNAME', 'SHELL', 'XDG_RUNTIME_DIR'],
  settings: terminalSettings,
  target: terminalTarget,
  reaches: 'RemotePty',
  provides: terminalPorts,
  breaker: { failure_threshold: 5, recovery_timeout: 60, half_open_max_calls: 3 },

  async connect(context) {
    const { createTerminalHub } = await import('./sessions/hub.ts')
    return createTerminalHub(context)
  },

  slos: [
    {
      name: 'terminal_session_success',
      description: 'Sessions that were started, among all that should have been',
      kind: 'ratio',
      target: 0.995,
      window_days: 30,
    },
  ],

  recovery: {
    codes: {
      MHV_TERMINAL_HOST_DOWN: { strategy: 'retry', max_attempts: 3 },
      MHV_TERMINAL_LIMIT: { strategy: 'skip', max_attempts: 1 },
      MHV_TERMINAL_LOST: { strategy: 'notify', max_attempts: 1 },
    },
    categories: { permission: { strategy: 'skip', max_attempts: 1 } },
  },

  operations: [start, send, wait, snapshot, run, close, read, list, resize, signal, attach, replay, runAi],
})
