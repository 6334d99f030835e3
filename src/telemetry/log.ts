import { type DestinationStream, destination, type Level, pino } from 'pino'
import type { Logger } from '../core/context.ts'
import { plainJson } from '../core/plain-json.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

type Fields = Readonly<Record<string, unknown>>

/**
 * The log: one JSON object per line on stderr, since stdout belongs to data. Everything goes through `redact` first,
 * errors with their causes too. Writes are synchronous: lines are few, and the last one before a crash is the one that
 * matters. Logging never throws: what it would tell about is more important.
 */
export function createLogger(
  level: LogLevel,
  redact: <T>(value: T) => T,
  to: DestinationStream = destination({ dest: 2, sync: true }),
): Logger {
  // What pino does with errors itself would go past the redaction.
  const serializers = { err: (value: unknown) => value }
  const logger = pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, serializers }, to)
  const write = (at: Level) => (message: string, fields?: Fields) => {
    if (!logger.isLevelEnabled(at)) return
    try {
      logger[at](redact(factsOf(fields)), redact(message))
    } catch (error) {
      logger[at](
        { log_error: error instanceof Error ? error.name : 'unknown' },
        'a line of the log could not be written',
      )
    }
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** Names that pino gives itself: a second one of them in the line would hide the first. */
const OWN_NAMES = ['level', 'time', 'msg']

function factsOf(fields: Fields = {}): Record<string, unknown> {
  const plain = plainJson(fields)
  // Fields that cannot be read come back as a text that says so.
  const facts = typeof plain === 'object' && plain !== null ? plain : { fields: plain }
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [OWN_NAMES.includes(name) ? `${name}_` : name, value]),
  )
}
