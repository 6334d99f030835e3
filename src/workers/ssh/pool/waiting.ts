import type { Entry } from './groups.ts'

/** A call that waits for a place. */
export interface Waiter {
  readonly give: (entry: Entry) => void
  readonly fail: (error: unknown) => void
}

interface Link {
  readonly waiter: Waiter
  before: Link | undefined
  after: Link | undefined
}

/** A queue from whose middle a waiter can leave without a search: a thousand may leave at one deadline. */
export interface Waiting {
  readonly size: number
  /** Adds at the end, or in front of all; the returned function takes it out again and tells which place it had, from 1. */
  add(waiter: Waiter, first: boolean): () => number
  shift(): Waiter | undefined
  /** Fails all of them. */
  failAll(error: unknown): void
}

export function createWaiting(): Waiting {
  let head: Link | undefined
  let tail: Link | undefined
  let size = 0

  function unlink(link: Link): void {
    if (link.before) link.before.after = link.after
    else head = link.after
    if (link.after) link.after.before = link.before
    else tail = link.before
    size -= 1
  }

  function placeOf(link: Link): number {
    let place = 1
    for (let other = link.before; other; other = other.before) place += 1
    return place
  }

  function shift(): Waiter | undefined {
    const link = head
    if (link) unlink(link)
    return link?.waiter
  }

  return {
    get size() {
      return size
    },
    add(waiter, first) {
      const link: Link = { waiter, before: first ? undefined : tail, after: first ? head : undefined }
      if (link.before) link.before.after = link
      else head = link
      if (link.after) link.after.before = link
      else tail = link
      size += 1
      return () => {
        const place = placeOf(link)
        unlink(link)
        return place
      }
    },
    shift,
    failAll(error) {
      for (let waiter = shift(); waiter; waiter = shift()) waiter.fail(error)
    },
  }
}
