import type { TerminalSessions } from '../../../core/ports.ts'
import type { TerminalConnection } from '../sessions/hub.ts'

/** The ports of this worker. What is behind them is loaded by the first call. */
export const terminalPorts = {
  TerminalSessions: (hub: TerminalConnection): TerminalSessions => ({
    async start(request, signal) {
      const { createTerminalSessions } = await import('./terminal-sessions.ts')
      return createTerminalSessions(hub).start(request, signal)
    },
  }),
}
