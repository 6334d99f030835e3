import type { Logger } from '../../../core/context.ts'
import { MhvError, mhvError } from '../../../core/errors.ts'
import type { RemotePtyEcho } from '../../../core/ports.ts'
import type { SshConnection } from '../connection.ts'
import { controlExec } from '../control-exec.ts'
import { wrapForAnyShell } from '../login-shell.ts'
import type { SshPool } from '../pool.ts'
import { TERMINAL_REPORT, type TerminalQuestion, terminalScript } from './remote-pty-script.ts'

/** What the host of a terminal can be asked, over the terminal's own connection. */
export interface TerminalHost {
  /** @throws MHV_TERMINAL_NO_FOREGROUND; what a channel throws */
  signal(name: string): Promise<void>
  echo(): Promise<RemotePtyEcho>
  /** Never rejects: what could not be ended is logged. */
  end(grace: number): Promise<void>
}

/** Milliseconds for an answer, beyond what the question itself takes. */
const ANSWER_MS = 10_000
/** Milliseconds for the end of a session beyond the grace time: after KILL it is looked at for two more seconds. */
const END_MS = 5_000

export interface TerminalHostParts {
  readonly pool: SshPool
  readonly connection: SshConnection
  readonly log: Logger
  /** The process that leads the terminal's session; undefined while, and where, it has not said so. */
  leader(): number | undefined
}

export function createTerminalHost({ pool, connection, log, leader }: TerminalHostParts): TerminalHost {
  /** The word of the answer; undefined where there was none. */
  async function ask(pid: number, question: TerminalQuestion, timeoutMs: number): Promise<string | undefined> {
    const shell = pool.shellOf(connection)
    const giveBack = shell === undefined ? undefined : pool.spare(connection)
    if (shell === undefined || giveBack === undefined) {
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', `${connection.endpoint}: no channel is left to ask the host about it`)
    }
    try {
      const script = terminalScript(pid, question)
      const { stdout } = await controlExec(connection, shell.sh ? wrapForAnyShell(script) : script, {
        clock: pool.clock,
        timeoutMs,
      })
      const line = stdout.split('\n').find((each) => each.startsWith(`${TERMINAL_REPORT} `))
      return line?.slice(TERMINAL_REPORT.length + 1)
    } finally {
      giveBack()
    }
  }

  return {
    async signal(name) {
      const pid = leader()
      if (pid === undefined) throw unsent('the host did not say which process the terminal has')
      const answer = await ask(pid, { kind: 'signal', name }, ANSWER_MS)
      if (answer !== 'sent') throw unsent(WHY[answer ?? ''] ?? 'the host did not say that it was sent')
    },
    async echo() {
      const pid = leader()
      if (pid === undefined) return 'unknown'
      const answer = await ask(pid, { kind: 'echo' }, ANSWER_MS).catch(() => undefined)
      return answer === 'hidden' || answer === 'shown' ? answer : 'unknown'
    },
    async end(grace) {
      const pid = leader()
      if (pid === undefined || !connection.alive()) return
      const asked = ask(pid, { kind: 'end', grace }, grace * 1000 + END_MS)
      const answer = await asked.catch((error: unknown) => (error instanceof MhvError ? error.code : String(error)))
      // `foreign`: it had ended by itself.
      if (answer === 'ended' || answer === 'foreign') return
      log.warn('what ran in a terminal of a host may not have ended', { host: connection.endpoint, answer })
    },
  }
}

const WHY: Readonly<Record<string, string>> = {
  none: 'nothing is in front of the terminal',
  foreign: 'its program has ended',
  denied: 'what is in front of the terminal belongs to another user of the host',
}

function unsent(why: string) {
  return mhvError('MHV_TERMINAL_NO_FOREGROUND', `no signal was sent: ${why}`)
}
