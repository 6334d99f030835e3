import { leftOutOf } from '../core/left-out.ts'
import type { EffectCertainty, WorkerResult } from '../core/result.ts'

/** What a result shows to people, on every surface. */
export interface Outcome {
  /** What was written to standard output, or the text that the operation has for people. */
  readonly stdout: string
  readonly stderr: string
  /** Whether `stdout` is the byte stream of a program, to be passed on as it is. */
  readonly exact: boolean
  /** Name of the signal that ended what was run; null where none did. */
  readonly signal: string | null
  /** Whether part of the output is missing here. */
  readonly cut: boolean
  /** Whether bytes that are no text were replaced here. */
  readonly lossy: boolean
}

/**
 * Takes a result apart. An operation whose data has texts `stdout` and `stderr` ran a program; `signal` tells how it
 * ended, `utf8: false` that its output was no text: that is all a surface knows about workers.
 */
export function outcomeOf({ data, output }: Pick<WorkerResult, 'data' | 'output'>): Outcome {
  const { stdout, stderr, signal, utf8 } = fieldsOf(data)
  const exact = typeof stdout === 'string'
  const texts = { stdout: exact ? stdout : (output ?? ''), stderr: typeof stderr === 'string' ? stderr : '' }
  return {
    ...texts,
    exact,
    signal: typeof signal === 'string' ? signal : null,
    cut: leftOutOf(texts.stdout) !== null || leftOutOf(texts.stderr) !== null,
    lossy: utf8 === false,
  }
}

function fieldsOf(data: unknown): Readonly<Record<string, unknown>> {
  return typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : {}
}

/** What is known of the effect, in words. */
export const CERTAINTY_TEXT: Readonly<Record<EffectCertainty, string>> = {
  none: 'nothing was changed',
  applied: 'it was applied',
  unknown: 'unknown: it may have been applied',
}

/** `ssh.execute on web1`. */
export function subjectOf({ operation, target }: Pick<WorkerResult, 'operation' | 'target'>): string {
  return target === null ? operation : `${operation} on ${target}`
}

/** A duration for people: `0.42 s`, `12.3 s`, `3 min 4 s`, `2 h 5 min`. */
export function durationText(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
