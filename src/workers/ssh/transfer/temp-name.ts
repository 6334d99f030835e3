import { createHash } from 'node:crypto'

/** Longest name that Linux and most others take, in bytes. */
const NAME_MAX = 255

/**
 * Name beside the target under which its content arrives: `.NAME.mahavishnu-ID.part`. A name that would become too long
 * is cut between characters and told apart by a piece of its digest.
 */
export function tempName(name: string, id: string): string {
  const end = `.mahavishnu-${id}.part`
  const whole = `.${name}${end}`
  if (Buffer.byteLength(whole) <= NAME_MAX) return whole
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 8)
  const room = NAME_MAX - Buffer.byteLength(`.~${digest}${end}`)
  let cut = ''
  let bytes = 0
  for (const character of name) {
    bytes += Buffer.byteLength(character)
    if (bytes > room) break
    cut += character
  }
  return `.${cut}~${digest}${end}`
}

/** Name under which what was at the target waits for the content of a temporary name to take its place. */
export function asideName(temp: string): string {
  return temp.replace(/\.part$/, '.old')
}

/** Whether a name is one that a transfer, ours or another, has not finished: a part, a link, or what was moved aside. */
export function isTempName(name: string): boolean {
  return /^\..*\.mahavishnu-[0-9a-z]+\.(part|old)$/s.test(name)
}

/**
 * Id of a file that nobody takes up again: of the run and the target as it is written, so that the next attempt of the
 * run replaces it, and two ways of writing one target (through a link, or in other case) do not share it.
 */
export function onceId(runId: string, target: string): string {
  return createHash('sha256')
    .update(JSON.stringify([runId, target]))
    .digest('hex')
    .slice(0, 16)
}

/** What makes two parts the same one. */
export interface PartFacts {
  /** The instance and the host: nobody else goes on with its parts. */
  readonly owner: string
  readonly direction: string
  readonly source: string
  readonly size: number
  readonly mtime: number
  readonly target: string
}

/** Id of a file that may be taken up again: the same for the same source facts and target, in whatever run. */
export function resumeId({ owner, direction, source, size, mtime, target }: PartFacts): string {
  return createHash('sha256')
    .update(JSON.stringify([owner, direction, source, size, mtime, target]))
    .digest('hex')
    .slice(0, 16)
}
