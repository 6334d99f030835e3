import { dirname, join, relative, sep } from 'node:path'

/** The checkout: the folder with package.json. */
export const root = dirname(dirname(import.meta.dirname))

/** Scratch files of the scripts; ignored by git, safe to delete. */
export const cache = join(root, '.cache')

/** An absolute path inside the checkout. */
export function inRoot(...parts: readonly string[]): string {
  return join(root, ...parts)
}

/** A path relative to the checkout with forward slashes, as it is written in results and messages. */
export function fromRoot(path: string): string {
  return relative(root, path).split(sep).join('/')
}

/** Runs the tools of node_modules without a shell and without npx: `[node, script]`. */
export function toolScript(path: string): readonly [string, string] {
  return [process.execPath, join(root, 'node_modules', path)]
}
