import { closest, distance } from 'fastest-levenshtein'

/** Longer words were not mistyped names; comparing them would only hold the event loop. */
const MAX_WORD = 100

/** The nearest of the candidates, when it is near enough to have been meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > MAX_WORD || candidates.length === 0) return undefined
  const best = closest(word, candidates as string[])
  const apart = distance(word, best)
  // Two edits make any word of two letters out of any other.
  return apart <= Math.max(2, Math.floor(best.length / 3)) && apart < best.length ? best : undefined
}

/** `, did you mean "x"?`, or nothing. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const best = nearest(word, candidates)
  return best === undefined ? '' : `; did you mean "${best}"?`
}

/** A name that somebody gave, quoted for a message: bounded, and with nothing in it that a terminal would follow. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > MAX_WORD ? `${name.slice(0, MAX_WORD)}…` : name)
}
