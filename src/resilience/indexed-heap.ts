/** Where an item keeps its index, so that it can be found without looking for it; -1 while it is in no heap. */
export interface HeapIndex<T> {
  get(item: T): number
  set(item: T, index: number): void
}

/**
 * A binary heap whose items can be taken out or moved from the middle: O(log n), and O(1) for a look at the first. An
 * item is in one heap per index at most. A class, since there is one per target that is waited for.
 */
export class IndexedHeap<T> {
  readonly #items: T[] = []
  readonly #before: (a: T, b: T) => boolean
  readonly #index: HeapIndex<T>

  /** `before` tells whether the first of the two comes first. */
  constructor(before: (a: T, b: T) => boolean, index: HeapIndex<T>) {
    this.#before = before
    this.#index = index
  }

  get size(): number {
    return this.#items.length
  }

  peek(): T | undefined {
    return this.#items[0]
  }

  has(item: T): boolean {
    const at = this.#index.get(item)
    return at >= 0 && this.#items[at] === item
  }

  add(item: T): void {
    this.#items.push(item)
    this.#up(item, this.#items.length - 1)
  }

  /** Whether it was in there. */
  remove(item: T): boolean {
    if (!this.has(item)) return false
    const at = this.#index.get(item)
    this.#index.set(item, -1)
    const last = this.#items.pop() as T
    if (last !== item) this.#down(last, this.#up(last, at))
    return true
  }

  /** Puts an item whose order has changed where it belongs. */
  update(item: T): void {
    if (this.has(item)) this.#down(item, this.#up(item, this.#index.get(item)))
  }

  #put(item: T, at: number): void {
    this.#items[at] = item
    this.#index.set(item, at)
  }

  #up(item: T, from: number): number {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = this.#items[parent] as T
      if (!this.#before(item, above)) break
      this.#put(above, at)
      at = parent
    }
    this.#put(item, at)
    return at
  }

  #down(item: T, from: number): void {
    const items = this.#items
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) break
      if (child + 1 < items.length && this.#before(items[child + 1] as T, items[child] as T)) child += 1
      const below = items[child] as T
      if (!this.#before(below, item)) break
      this.#put(below, at)
      at = child
    }
    this.#put(item, at)
  }
}
