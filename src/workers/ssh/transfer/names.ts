import { matchesPattern } from '../../../core/glob.ts'

/** Most files, links and folders of one transfer. */
export const MAX_ENTRIES = 100_000
/** Deepest folder of a tree: links that lead back may make it endless. */
export const MAX_DEPTH = 100

/** Whether a component of a path is a pattern: it has a `*` or `?` that no backslash takes away. */
export function isPattern(component: string): boolean {
  return /(^|[^\\])(\\\\)*[*?]/.test(component)
}

/** A component without its backslashes, where there is a meaning for them to take away; as it is otherwise. */
function plainComponent(component: string): string {
  return /[*?]/.test(component) ? component.replace(/\\(.)/gsu, '$1') : component
}

/**
 * Splits a path at its first pattern: the folder that is there, whose name is taken as it stands, and the components
 * from there on. A path without one is `base` alone.
 */
export function splitPattern(path: string): { readonly base: string; readonly patterns: readonly string[] } {
  const components = path.split('/')
  const first = components.findIndex(isPattern)
  if (first < 0) return { base: components.map(plainComponent).join('/'), patterns: [] }
  const before = components.slice(0, first).map(plainComponent).join('/')
  const base = before === '' ? (path.startsWith('/') ? '/' : '.') : before
  return { base, patterns: components.slice(first).filter((component) => component !== '') }
}

/** As shells do: names that begin with a dot only where the pattern does. */
export function matchesName(pattern: string, name: string): boolean {
  return (pattern.startsWith('.') || !name.startsWith('.')) && matchesPattern(pattern, name)
}

export function joinRemote(folder: string, name: string): string {
  if (folder === '' || folder === '.') return name
  return folder.endsWith('/') ? `${folder}${name}` : `${folder}/${name}`
}

/** The same for spellings that differ only in what changes nothing: `./a` and `a//b`. Not `..`: it may follow a link. */
export function plainRemote(path: string): string {
  return path.replace(/\/(\.?\/)+/g, '/').replace(/^(\.\/)+/, '')
}

/** Folder and name of a remote path; the folder of a bare name is the home folder. */
export function splitRemote(path: string): { readonly folder: string; readonly name: string } {
  const at = path.lastIndexOf('/')
  if (at < 0) return { folder: '.', name: path }
  return { folder: at === 0 ? '/' : path.slice(0, at), name: path.slice(at + 1) }
}

/** What a name came to when it was read as UTF-8: U+FFFD stands for bytes that are not. */
export const NOT_UTF8 = 'its name is not UTF-8'

export function isRepresentable(name: string): boolean {
  return !name.includes('\ufffd')
}

/**
 * Whether a link, from the folder that many levels below the root of a tree, leads to a place inside the tree by its
 * text alone. `..` counts only before the first name: behind one that is a link itself, it leads up from wherever that
 * one leads, so links that are harmless one by one could lead out together.
 */
export function staysInside(depth: number, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false
  let level = depth
  let below = false
  for (const step of target.split('/')) {
    if (step === '' || step === '.') continue
    if (step !== '..') below = true
    else if (below || --level < 0) return false
  }
  return true
}
