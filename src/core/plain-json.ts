/** Deeper nesting than this tells nobody anything. */
const MAX_DEPTH = 30

/**
 * Whatever a value is, something that JSON can hold and people can read: errors with their code and cause, maps and
 * sets as objects and lists, cycles and what cannot be read by name. For facts in logs and errors, which must never
 * fail because of what somebody put into them. Never throws.
 */
export function plainJson(value: unknown): unknown {
  return toPlain(value, [])
}

function toPlain(value: unknown, above: readonly object[]): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (above.includes(value)) return '[circular]'
  if (above.length >= MAX_DEPTH) return '[too deep]'
  try {
    return objectToPlain(value, [...above, value])
  } catch {
    return '[unreadable]'
  }
}

function objectToPlain(value: object, above: readonly object[]): unknown {
  const inner = (each: unknown) => toPlain(each, above)
  if (value instanceof Error) return errorToPlain(value, inner)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.map((each) => inner(each) ?? null)
  if (value instanceof Set) return [...value].map((each) => inner(each) ?? null)
  if (value instanceof Map) return inner(Object.fromEntries([...value].map(([key, each]) => [String(key), each])))
  if ('toJSON' in value && typeof value.toJSON === 'function') return inner(value.toJSON())
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]) => [key, inner(each)] as const)
      .filter(([, each]) => each !== undefined),
  )
}

/** Own fields too: that is where drivers put `code`, `syscall` or `address`. */
function errorToPlain(error: Error, inner: (value: unknown) => unknown): unknown {
  const { name, message, stack, cause } = error
  const own = Object.entries(error).map(([key, each]) => [key, inner(each)] as const)
  return {
    ...Object.fromEntries(own.filter(([, each]) => each !== undefined)),
    name,
    message,
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined ? {} : { cause: inner(cause) }),
    ...(error instanceof AggregateError ? { errors: inner(error.errors) } : {}),
  }
}
