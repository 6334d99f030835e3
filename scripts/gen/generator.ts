/** Derived files: what they are, and how they are compared and written. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A file, or a region of one, that is made from a declaration elsewhere. */
export interface Generator {
  /** From the checkout, with forward slashes. */
  readonly path: string
  /**
   * Only the text between `<!-- gen:region -->` and `<!-- /gen:region -->` of a file written by hand; the file and
   * both marks must be there. Without it the whole file is derived.
   */
  readonly region?: string
  /** The text; a missing last newline is added. It must not depend on time, machine or folder. */
  render(): Promise<string> | string
}

/** A generator's file as it is and as it should be. */
export interface Derived {
  readonly path: string
  readonly stale: boolean
  readonly text: string
}

/** Replaces the text between a region's marks. Throws if they are not there exactly once. */
export function replaceRegion(text: string, region: string, body: string): string {
  const [start, end] = [`<!-- gen:${region} -->`, `<!-- /gen:${region} -->`]
  const [from, to] = [text.indexOf(start), text.indexOf(end)]
  if (from < 0 || to < from || text.indexOf(start, from + 1) >= 0 || text.indexOf(end, to + 1) >= 0)
    throw new Error(`needs ${start} and ${end}, once each and in this order`)
  return `${text.slice(0, from + start.length)}\n${withNewline(body)}${text.slice(to)}`
}

function withNewline(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`
}

/**
 * Renders all generators. Several regions of one file are applied one after the other, so that none undoes another.
 * @param root the folder that paths are relative to
 */
export async function deriveAll(generators: readonly Generator[], root: string): Promise<readonly Derived[]> {
  const texts = new Map<string, string>()
  for (const { path, region, render } of generators) {
    const file = join(root, path)
    const body = await render()
    const before = texts.get(path) ?? (existsSync(file) ? readFileSync(file, 'utf8') : '')
    try {
      texts.set(path, region === undefined ? withNewline(body) : replaceRegion(before, region, body))
    } catch (error) {
      throw new Error(`${path}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return [...texts].map(([path, text]) => {
    const file = join(root, path)
    return { path, text, stale: !existsSync(file) || readFileSync(file, 'utf8') !== text }
  })
}

/** Writes what is stale. */
export function writeDerived(derived: readonly Derived[], root: string): void {
  for (const { path, text } of derived.filter(({ stale }) => stale)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
}
