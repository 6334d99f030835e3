/**
 * `*` stands for any characters, also none, `?` for exactly one, and `\\` takes the special meaning from the character
 * after it. Takes at most length x length steps, whatever the pattern: a policy must not be able to hold everybody up.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  let [p, n] = [0, 0]
  /** Where to go on after the last `*`: it then takes one more character. */
  let star: { after: number; from: number } | undefined
  while (n < name.length) {
    const [literal, step] = pattern[p] === '\\' && p + 1 < pattern.length ? [pattern[p + 1], 2] : [pattern[p], 1]
    if (step === 1 && literal === '*') {
      p += 1
      star = { after: p, from: n }
    } else if (step === 1 && literal === '?') {
      p += 1
      n += lengthOfCharacter(name, n)
    } else if (literal === name[n]) {
      p += step
      n += 1
    } else if (star !== undefined) {
      star.from += 1
      p = star.after
      n = star.from
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p += 1
  return p === pattern.length
}

/** In units of UTF-16: 2 for a character beyond the first plane. */
function lengthOfCharacter(text: string, at: number): number {
  return (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
}
