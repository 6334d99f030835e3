import { mhvError } from '../core/errors.ts'
import { exec } from '../core/exec.ts'
import { cutText } from '../core/utf8.ts'

/** Output of the program that is kept for the message of a failure, in bytes. */
const MAX_OUTPUT_BYTES = 4 * 1024
const MAX_MESSAGE_BYTES = 300

export interface CommandRequest {
  readonly command: readonly string[]
  /** Id of the notification, the same over all tries: for programs that must not tell twice. */
  readonly id: string
  /** JSON. */
  readonly body: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** Runs the program once with the notification on its standard input. Throws MHV_NOTIFY_FAILED and what `exec` throws. */
export async function runCommand({ command, id, body, timeoutMs, signal }: CommandRequest): Promise<void> {
  const [program = '', ...args] = command
  const result = await exec({
    program,
    args,
    env: { MAHAVISHNU_NOTIFICATION_ID: id },
    stdin: body,
    timeoutMs,
    maxBytes: MAX_OUTPUT_BYTES,
    signal,
  })
  if (result.exit_code === 0) return
  const how = result.signal === null ? `exit code ${result.exit_code}` : `signal ${result.signal}`
  const said = cutText(result.stderr.trim(), MAX_MESSAGE_BYTES)
  throw mhvError('MHV_NOTIFY_FAILED', `${program} ended with ${how}${said === '' ? '' : `: ${said}`}`)
}
