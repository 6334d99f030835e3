import { CommanderError } from 'commander'
import { ERROR_TABLE, EXIT, isErrorCode } from '../../core/error-table.ts'
import { type MhvError, mhvError, type WireError } from '../../core/errors.ts'
import { isFinal, RESULT_FORMAT, type WorkerResult } from '../../core/result.ts'
import { outcomeOf } from '../outcome.ts'
import { plainLine, plainText } from '../plain-text.ts'

/** The document of `--json` where there is no result. */
export function errorDocument(error: WireError) {
  return { error, metadata: { format: RESULT_FORMAT } }
}

/** An error for people: `error CODE: message`, `fix: remedy`, and every problem that it lists. */
export function errorText({ code, message, remedy, details, retry_after }: WireError): string {
  const lines = [`error ${code}: ${plainText(message)}`, ...problemLines(details), `fix: ${plainText(remedy)}`]
  if (retry_after !== undefined) lines.push(`retry after: ${retry_after} s`)
  return lines.join('\n')
}

/** The configuration's errors list all that is wrong; the first of them is the message already. */
function problemLines(details: WireError['details']): readonly string[] {
  const problems = details?.problems
  if (!Array.isArray(problems)) return []
  return problems.slice(1).map((problem: Readonly<Record<string, unknown>>) => {
    const place = problem.file ?? problem.variable ?? problem.option
    const at = problem.line === undefined ? '' : `:${problem.line}:${problem.column ?? 1}`
    return `  ${problem.code}: ${place === undefined ? '' : `${place}${at}: `}${problem.message}`
  })
}

/** How a command ends: the exit code, and where it says less than is known, a line that says it. */
export interface Ending {
  readonly exit: number
  readonly note?: string
}

/** A remote command's 0 to 125 pass through; what cannot is 126. Our own failures have the codes of the table. */
export function endingOf(result: WorkerResult): Ending {
  if (!isFinal(result.status)) return { exit: EXIT.timeout, note: `run ${result.run_id} has not ended` }
  if (result.status !== 'completed') {
    const code = result.error_code
    return { exit: code === null ? EXIT.internal : ERROR_TABLE[code].exit }
  }
  const { signal } = outcomeOf(result)
  if (signal !== null) return { exit: EXIT.remote_above_125, note: `ended by signal ${plainLine(signal)}` }
  const code = result.exit_code ?? EXIT.ok
  if (code >= 0 && code < EXIT.remote_above_125) return { exit: code }
  return { exit: EXIT.remote_above_125, note: `ended with exit code ${code}` }
}

export function exitOf(error: MhvError): number {
  return error.spec.exit
}

/** What the parser did not understand, as an error of the table; null where it only printed help or the version. */
export function usageError(error: CommanderError, helpOf: string): MhvError | null {
  if (error.exitCode === 0) return null
  const remedy = `See \`${helpOf} --help\`.`
  if (error.code === 'commander.help') return mhvError('MHV_CLI_USAGE', `\`${helpOf}\` needs a command`, { remedy })
  const [first = '', second = ''] = error.message.replace(/^error: /, '').split('\n')
  const nearest = /^\(Did you mean (?:one of )?(.+)\?\)$/.exec(second)?.[1]?.split(', ')
  const quoted = nearest?.map((word) => `"${word}"`).join(' or ')
  const message = quoted === undefined ? [first, second].join(' ').trim() : `${first}; did you mean ${quoted}?`
  return mhvError('MHV_CLI_USAGE', message, { remedy })
}

export function isCommanderError(thrown: unknown): thrown is CommanderError {
  return thrown instanceof CommanderError
}

/** The wire shape of the error that ended a run. */
export function errorOfResult({ error, error_code, metadata }: WorkerResult): WireError | null {
  if (error_code === null || !isErrorCode(error_code)) return null
  const { remedy = ERROR_TABLE[error_code].remedy, details, retry_after } = metadata
  return {
    code: error_code,
    message: error ?? ERROR_TABLE[error_code].summary,
    remedy,
    ...(details === undefined ? {} : { details }),
    ...(retry_after === undefined ? {} : { retry_after }),
  }
}
