import type { ClientChannel } from 'ssh2'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { Secret } from '../../core/secret.ts'
import type { CommandExit } from './connection.ts'
import { plainText } from './remote-text.ts'
import type { StartReport } from './start-report.ts'
import { createSudoScanner, type SudoWord } from './sudo-scanner.ts'

/** Gives the password, late: not before sudo asks. */
export type Password = () => Promise<Secret>

export interface SudoDialogueParts {
  readonly channel: Pick<ClientChannel, 'write' | 'end' | 'writable'>
  readonly marker: string
  readonly prompt: string | undefined
  readonly password: Password | undefined
  /** A script that is too long for a line. */
  readonly preamble: Buffer | undefined
  /** The command's own standard input. */
  readonly stdin: Buffer | undefined
}

/** What goes to and fro until the command begins. It takes the place of a start scanner. */
export interface SudoDialogue {
  push(bytes: Buffer): Buffer
  end(): Buffer
  report(): StartReport | undefined
  /** Process of sudo, which leads the session. */
  session(): number | undefined
  /** Why sudo did not run the command, where that is so. */
  failure(endpoint: string, exit: CommandExit | undefined): MhvError | undefined
}

/**
 * Each piece of standard input goes when its reader has asked for it: the password when sudo's prompt has come, the
 * script when its reader is ready, the command's own input when the command begins. So none ever reaches another.
 * A second prompt means that the password was wrong: the input is closed, and sudo gives up after this one try.
 */
export function createSudoDialogue(parts: SudoDialogueParts): SudoDialogue {
  const { channel, marker, prompt, password, preamble, stdin } = parts
  let prompts = 0
  let session: number | undefined
  let report: StartReport | undefined
  let missing = false
  let failed: MhvError | undefined
  let said = ''

  async function answerPrompt(): Promise<void> {
    prompts += 1
    try {
      if (password === undefined || prompts > 1) throw mhvError('MHV_SSH_SUDO_FAILED', 'sudo did not take the password')
      const line = passwordLine(await password())
      if (channel.writable) channel.write(line)
    } catch (error) {
      failed ??= toMhvError(error)
      channel.end()
    }
  }

  function onWord(word: SudoWord): void {
    if (word.kind === 'prompt') void answerPrompt()
    else if (word.kind === 'sudo') session = word.pid
    else if (word.kind === 'nosudo') missing = true
    else if (word.kind === 'ready') {
      if (preamble !== undefined) channel.write(preamble)
    } else {
      report ??= word
      if (word.kind === 'started' && stdin !== undefined) channel.end(stdin)
    }
  }

  const scanner = createSudoScanner(marker, prompt, onWord)
  return {
    push: scanner.push,
    end() {
      said = plainText(scanner.said(), 300)
      return scanner.end()
    },
    report: () => report,
    session: () => session,
    failure(endpoint, exit) {
      if (report !== undefined) return undefined
      if (missing) return mhvError('MHV_SSH_SUDO_MISSING', `there is no sudo on ${endpoint}`)
      if (failed !== undefined && failed.code !== 'MHV_SSH_SUDO_FAILED') return failed
      // sudo exits with 1 when it does not run the command (sudo(8), EXIT VALUE); the command has reported nothing.
      if (session === undefined || exit === undefined || (failed === undefined && exit.code !== 1)) return undefined
      const what = failed?.message ?? 'sudo did not run the command'
      return mhvError('MHV_SSH_SUDO_FAILED', `${endpoint}: ${what}${said === '' ? '' : `; it says: ${said}`}`)
    },
  }
}

/** What sudo reads. A line break within would end the password early and send the rest to somebody else. */
export function passwordLine(secret: Secret): string {
  const value = secret.reveal()
  if (!/[\r\n\0]/.test(value)) return `${value}\n`
  throw mhvError('MHV_SECRET_UNRESOLVED', `${secret.reference} has a line break or a NUL: it is no password for sudo`)
}
