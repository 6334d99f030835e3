import type { ErrorCode } from '../core/error-table.ts'
import { type MhvError, mhvError } from '../core/errors.ts'

/** Where a value was written: a place in a file (from 1), a variable of the environment, or an option. */
export type Place =
  | { readonly file: string; readonly line?: number; readonly column?: number }
  | { readonly variable: string }
  | { readonly option: string }

/** One thing that is wrong with a layer or the inventory. `message` never has a value of the layer in it. */
export interface Problem {
  readonly code: ErrorCode
  /** What is wrong, without the place. */
  readonly message: string
  readonly place?: Place
  /** The key it is about, dotted. */
  readonly key?: string
  readonly remedy?: string
}

export function placeText(place: Place): string {
  if ('variable' in place) return place.variable
  if ('option' in place) return place.option
  if (place.line === undefined) return place.file
  return `${place.file}:${place.line}:${place.column ?? 1}`
}

export function problemText({ place, message }: Problem): string {
  return place === undefined ? message : `${placeText(place)}: ${message}`
}

/** How many problems an error carries in full; the rest is counted. */
const MAX_LISTED = 100

/**
 * All problems as one error: code, message and remedy are those of the first, and `details.problems` has each with
 * code, message, and place.
 */
export function problemsError(problems: readonly [Problem, ...Problem[]]): MhvError {
  const [first] = problems
  const more = problems.length - 1
  const others = more === 0 ? '' : ` (and ${more} more ${more === 1 ? 'problem' : 'problems'})`
  const listed = problems.slice(0, MAX_LISTED).map(({ code, message, place, key }) => ({
    code,
    message,
    ...(key === undefined ? {} : { key }),
    ...place,
  }))
  return mhvError(first.code, `${problemText(first)}${others}`, {
    details: { problems: listed, count: problems.length },
    remedy: first.remedy,
  })
}

export function throwIfAny(problems: readonly Problem[]): void {
  const [first, ...rest] = problems
  if (first) throw problemsError([first, ...rest])
}

/** A key as it may be shown: what does not look like a name may be a value in the wrong place. */
export function shownKey(key: string): string {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(key) ? `"${key}"` : 'a key that is not a name'
}

/** The path of a key, dotted; a part that may be a value is not shown. */
export function shownPath(path: readonly string[]): string {
  return path.map((part) => (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(part) ? part : '…')).join('.')
}
