import type { TerminalSessions } from '../../../core/ports.ts'
import { assertAllowed, commandWords } from '../operations/command-words.ts'
import { recordingPath } from '../operations/context.ts'
import type { TerminalConnection } from '../sessions/hub.ts'
import { remoteCommand } from '../sessions/remote-command.ts'

/** What a terminal has until it is resized: the defaults of `terminal.start_interactive_session`. */
const FIRST = { term: 'xterm-256color', rows: 24, cols: 80 } as const

/** Sessions for other workers: with the same limits, list of programs, owner and recording as those of its operations. */
export function createTerminalSessions(hub: TerminalConnection): TerminalSessions {
  return {
    async start({ owner, run_id, target, command }, signal) {
      const words = commandWords(command)
      assertAllowed(words[0], hub.commands)
      const session = await hub.startRemote({ owner, run_id, target, command: remoteCommand(words), ...FIRST }, signal)
      return { session: session.pty.info.id, recording: recordingPath(session) }
    },
  }
}
