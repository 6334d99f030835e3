import { mhvError } from '../../../core/errors.ts'
import { MAX_INPUT_BYTES } from './protocol.ts'

const FIRST_PAUSE_MS = 1
const LAST_PAUSE_MS = 50

/** What was typed and waits until the terminal takes it. */
export interface InputQueue {
  /** `done` is called when the terminal has taken all of it, or with why it never will. */
  push(bytes: Uint8Array, done: (error?: Error) => void): void
  bytes(): number
  /** Whatever waits is told this. */
  end(error: Error): void
}

interface Waiting {
  bytes: Uint8Array
  readonly done: (error?: Error) => void
}

/** `write` says how many bytes were taken. A terminal cannot tell when it takes some again, so it is asked now and then. */
export function createInputQueue(write: (bytes: Uint8Array) => number): InputQueue {
  const waiting: Waiting[] = []
  let bytes = 0
  let pause = FIRST_PAUSE_MS
  let timer: NodeJS.Timeout | undefined

  function work(): void {
    timer = undefined
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const count = first.bytes.length === 0 ? 0 : write(first.bytes)
      bytes -= count
      first.bytes = first.bytes.subarray(count)
      if (first.bytes.length > 0) {
        pause = count > 0 ? FIRST_PAUSE_MS : Math.min(pause * 2, LAST_PAUSE_MS)
        timer = setTimeout(work, pause)
        return
      }
      waiting.shift()
      first.done()
    }
    pause = FIRST_PAUSE_MS
  }

  return {
    push(more, done) {
      if (bytes + more.length > MAX_INPUT_BYTES) {
        done(mhvError('MHV_TERMINAL_INPUT_FULL', `${bytes} bytes of input wait already, and ${MAX_INPUT_BYTES} may`))
        return
      }
      bytes += more.length
      waiting.push({ bytes: more, done })
      if (timer === undefined) work()
    },
    bytes: () => bytes,
    end(error) {
      clearTimeout(timer)
      timer = undefined
      bytes = 0
      for (const { done } of waiting.splice(0)) done(error)
    },
  }
}
