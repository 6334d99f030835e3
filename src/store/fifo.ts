/** First in, first out, in constant time whatever its length. */
export interface Fifo<T> {
  push(item: T): void
  shift(): T | undefined
  size(): number
}

/** A list with fewer items gone from its front is not worth copying. */
const COMPACT_AT = 1024

export function createFifo<T>(): Fifo<T> {
  let items: (T | undefined)[] = []
  let head = 0
  return {
    push(item) {
      items.push(item)
    },
    shift() {
      if (head === items.length) return undefined
      const item = items[head]
      items[head] = undefined
      head += 1
      if (head === items.length || (head >= COMPACT_AT && head * 2 >= items.length)) {
        items = head === items.length ? [] : items.slice(head)
        head = 0
      }
      return item
    },
    size: () => items.length - head,
  }
}
