import { type DestinationStream, destination, type Level, pino } from 'pino'
import type { Logger } from '../core/context.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/**
 * The log: one JSON object per line on stderr, since stdout belongs to data. Everything goes through `redact` first.
 * Writes are synchronous: lines are few, and the last one before a crash is the one that matters.
 */
export function createLogger(
  level: LogLevel,
  redact: <T>(value: T) => T,
  to: DestinationStream = destination({ dest: 2, sync: true }),
): Logger {
  const logger = pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, to)
  const write = (at: Level) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
    if (logger.isLevelEnabled(at)) logger[at](redact(fields ?? {}), redact(message))
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
