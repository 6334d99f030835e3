import { types } from 'node:util'
import { type Message, type Packed, packThrown, type Reference } from './messages.ts'

type Callable = (...args: unknown[]) => unknown

/** Functions and abort signals that cross the channel by a number; the function itself stays where it is. */
export interface References {
  /** `done` ends the watching of signals; functions stay until the other side has forgotten them. */
  pack(value: unknown): { readonly packed: Packed; done(): void }
  unpack(packed: Packed): { readonly value: unknown; done(): void }
  /** A function of this side, by the number that the other side has of it. */
  own(id: number): Callable
  abort(signal: number, reason: Error): void
  forget(fn: number): void
}

export function createReferences(
  post: (message: Message) => void,
  invoke: (fn: number, args: readonly unknown[]) => Promise<unknown>,
): References {
  const functions = new Map<number, Callable>()
  const controllers = new Map<number, AbortController>()
  const collected = new FinalizationRegistry<number>((fn) => post({ kind: 'forget', fn }))
  let lastId = 0

  function packSignal(signal: AbortSignal, id: number): () => void {
    const onAbort = () => post({ kind: 'abort', signal: id, reason: packThrown(signal.reason) })
    // After the message that it belongs to.
    if (signal.aborted) queueMicrotask(onAbort)
    else signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }

  function remoteFunction(id: number): Callable {
    const remote = (...args: unknown[]) => {
      const answer = invoke(id, args)
      // Whoever does not wait for it must not be brought down by its failure; whoever waits sees it.
      answer.catch(() => undefined)
      return answer
    }
    collected.register(remote, id)
    return remote
  }

  return {
    pack(value) {
      const refs: Reference[] = []
      const ends: (() => void)[] = []
      const replace = (found: Callable | AbortSignal, path: readonly (string | number)[]) => {
        lastId += 1
        const id = lastId
        if (typeof found === 'function') functions.set(id, found)
        else ends.push(packSignal(found, id))
        refs.push({ path, kind: typeof found === 'function' ? 'function' : 'signal', id })
      }
      const plain = without(value, [], replace)
      const packed = refs.length === 0 ? { value: plain } : { value: plain, refs }
      return {
        packed,
        done() {
          for (const end of ends) end()
        },
      }
    },
    unpack({ value, refs = [] }) {
      const signals: number[] = []
      // The value itself may be the place.
      const root: { value: unknown } = { value }
      for (const { path, kind, id } of refs) {
        if (kind === 'function') {
          place(root, path, remoteFunction(id))
          continue
        }
        const controller = new AbortController()
        controllers.set(id, controller)
        signals.push(id)
        place(root, path, controller.signal)
      }
      return {
        value: root.value,
        done() {
          for (const id of signals) controllers.delete(id)
        },
      }
    },
    own(id) {
      const found = functions.get(id)
      if (found === undefined) throw new Error('the other process calls a function that was given up')
      return found
    },
    abort: (signal, reason) => controllers.get(signal)?.abort(reason),
    forget: (fn) => void functions.delete(fn),
  }
}

function place(root: { value: unknown }, path: readonly (string | number)[], what: unknown): void {
  let holder = root as unknown as Record<string | number, unknown>
  let key: string | number = 'value'
  for (const next of path) {
    holder = ownOf(holder, key) as Record<string | number, unknown>
    key = next
  }
  ownOf(holder, key)
  holder[key] = what
}

/** What came must not reach beyond itself, to a prototype of this process. */
function ownOf(holder: Record<string | number, unknown>, key: string | number): unknown {
  if (!Object.hasOwn(holder, key)) throw new TypeError('a reference without a place')
  return holder[key]
}

type Replace = (found: Callable | AbortSignal, path: readonly (string | number)[]) => void

/** The value with every function and signal taken out; the value itself where there is none. */
function without(value: unknown, path: readonly (string | number)[], replace: Replace): unknown {
  if (typeof value === 'function') {
    replace(value as Callable, path)
    return undefined
  }
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof AbortSignal) {
    replace(value, path)
    return undefined
  }
  if (Array.isArray(value)) {
    const items = value.map((each, index) => without(each, [...path, index], replace))
    return items.every((each, index) => Object.is(each, value[index])) ? value : items
  }
  if (isBuiltIn(value)) return value
  return withoutIn(value, path, replace)
}

/** What the structured clone knows by itself. */
function isBuiltIn(value: object): boolean {
  return (
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isNativeError(value)
  )
}

function withoutIn(value: object, path: readonly (string | number)[], replace: Replace): unknown {
  const own = value as Record<string, unknown>
  const copy: Record<string, unknown> = {}
  let changed = false
  for (const key of Object.keys(own)) {
    copy[key] = without(own[key], [...path, key], replace)
    if (!Object.is(copy[key], own[key])) changed = true
  }
  for (const key of methodsOf(value)) {
    replace((own[key] as Callable).bind(value), [...path, key])
    copy[key] = undefined
    changed = true
  }
  return changed ? copy : value
}

/** Names of the methods that an object has of its class. */
function methodsOf(value: object): readonly string[] {
  const names = new Set<string>()
  let prototype: object | null = Object.getPrototypeOf(value)
  while (prototype !== null && prototype !== Object.prototype) {
    for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (name !== 'constructor' && typeof method === 'function' && !Object.hasOwn(value, name)) names.add(name)
    }
    prototype = Object.getPrototypeOf(prototype)
  }
  return [...names]
}
