import type { Place } from './problems.ts'

/** A value as a layer has it, with the place where it was written. */
export type SourceNode = SourceMap | SourceList | SourceScalar

export interface SourceMap {
  readonly kind: 'map'
  readonly place: Place
  readonly entries: ReadonlyMap<string, SourceEntry>
}

export interface SourceEntry {
  /** Where the key stands. */
  readonly place: Place
  readonly node: SourceNode
}

export interface SourceList {
  readonly kind: 'list'
  readonly place: Place
  readonly items: readonly SourceNode[]
}

export interface SourceScalar {
  readonly kind: 'scalar'
  readonly place: Place
  readonly value: string | number | boolean | null
}

export function emptyMap(place: Place): SourceMap {
  return { kind: 'map', place, entries: new Map() }
}

/** The node of a JSON value, all of it at one place. */
export function fromJson(value: unknown, place: Place): SourceNode {
  if (Array.isArray(value)) return { kind: 'list', place, items: value.map((item) => fromJson(item, place)) }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([key, item]) => [key, { place, node: fromJson(item, place) }] as const)
    return { kind: 'map', place, entries: new Map(entries) }
  }
  return { kind: 'scalar', place, value: value as SourceScalar['value'] }
}

/** The node of a JSON text, or undefined where it is none (or hides a prototype in it). */
export function parseJson(text: string, place: Place): SourceNode | undefined {
  try {
    const value = JSON.parse(text, (key, item) => {
      if (key === '__proto__') throw new SyntaxError('not a key')
      return item
    })
    return fromJson(value, place)
  } catch {
    return undefined
  }
}

/** A map with one value in it, at the end of the path. */
export function atPath(path: readonly string[], node: SourceNode): SourceNode {
  return path.reduceRight<SourceNode>(
    (inner, key) => ({ kind: 'map', place: node.place, entries: new Map([[key, { place: node.place, node: inner }]]) }),
    node,
  )
}

export function toPlain(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'list') return node.items.map(toPlain)
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, toPlain(entry.node)]))
}

/**
 * A higher layer over a lower one: maps are merged key by key, everything else is replaced as a whole. A key with
 * nothing behind it (a section whose lines are all commented out) leaves the lower map as it is.
 */
export function mergeSources(lower: SourceNode, upper: SourceNode): SourceNode {
  if (lower.kind !== 'map') return upper
  if (upper.kind === 'scalar' && upper.value === null) return lower
  if (upper.kind !== 'map') return upper
  const entries = new Map(lower.entries)
  for (const [key, entry] of upper.entries) {
    const below = entries.get(key)
    entries.set(key, below ? { ...entry, node: mergeSources(below.node, entry.node) } : entry)
  }
  return { kind: 'map', place: upper.entries.size > 0 ? upper.place : lower.place, entries }
}

/** The node at a path of keys and positions, or undefined. */
export function nodeAt(node: SourceNode, path: readonly PropertyKey[]): SourceNode | undefined {
  let found: SourceNode | undefined = node
  for (const step of path) found = found && child(found, step)
  return found
}

/** The node at a path, or the nearest one around it. */
export function nearestNode(node: SourceNode, path: readonly PropertyKey[]): SourceNode {
  let found = node
  for (const step of path) {
    const next = child(found, step)
    if (next === undefined) return found
    found = next
  }
  return found
}

function child(node: SourceNode, step: PropertyKey): SourceNode | undefined {
  if (node.kind === 'map') return node.entries.get(String(step))?.node
  return node.kind === 'list' && typeof step === 'number' ? node.items[step] : undefined
}

/** What kind of value a node is, in words for messages. */
export function kindText(node: SourceNode): string {
  if (node.kind === 'map') return 'a map'
  if (node.kind === 'list') return 'a list'
  if (node.value === null) return 'nothing'
  if (typeof node.value === 'string') return 'text'
  return typeof node.value === 'number' ? 'a number' : 'true or false'
}
