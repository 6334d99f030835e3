/** First in, first out, in constant time whatever its length. */
export interface Fifo<T> {
  push(item: T): void
  shift(): T | undefined
  size(): number
}

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
      // Let go of it at once; the room is given back when half of the list is empty.
      items[head] = undefined
      head += 1
      if (head * 2 >= items.length) {
        items = items.slice(head)
        head = 0
      }
      return item
    },
    size: () => items.length - head,
  }
}
