import { type Transferable, Worker } from 'node:worker_threads'
import { fromWire, type MhvError, mhvError } from '../core/errors.ts'
import { isRefusal, type ThreadReady } from './protocol.ts'

/** A thread of the store that has said it is ready. */
export interface Thread<M> {
  readonly pragmas: ThreadReady['pragmas']
  readonly fence: ThreadReady['fence']
  post(message: M, transfer?: Transferable[]): void
  /** Whether the thread keeps the process alive: while something is expected of it. */
  hold(busy: boolean): void
  /** Sends the message that ends it, and waits until it has ended. */
  end(message: M): Promise<void>
}

export interface ThreadEvents {
  message(message: unknown): void
  /** It ended without having been asked to. Every message that it sent has been delivered before. */
  died(error: MhvError): void
}

/** A thread takes over the flags of its process; but that of a program given by `--eval` would keep it from starting. */
function flags(): string[] | undefined {
  return process.execArgv.some((flag) => flag.startsWith('--input-type')) ? [] : undefined
}

/**
 * Starts a thread and waits for its first message.
 *
 * @throws the error that its first message refuses with; MHV_JOURNAL_UNAVAILABLE where it sends none
 */
export async function startThread<M>(entry: URL, data: unknown, events: ThreadEvents): Promise<Thread<M>> {
  const worker = new Worker(entry, { workerData: data, execArgv: flags() })
  let cause: unknown
  let ending = false
  worker.on('error', (error) => {
    cause = error
  })
  const death = (): MhvError => {
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    return mhvError('MHV_JOURNAL_UNAVAILABLE', `a thread of the journal has ended${why}`, { cause })
  }
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))

  const first = await new Promise<unknown>((resolve, reject) => {
    worker.once('message', resolve)
    void exited.then(() => reject(death()))
  })
  if (isRefusal(first)) {
    await exited
    throw fromWire(first.error)
  }

  worker.on('message', (message) => events.message(message))
  void exited.then(() => {
    if (!ending) events.died(death())
  })
  worker.unref()
  return {
    pragmas: (first as ThreadReady).pragmas,
    fence: (first as ThreadReady).fence,
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
    end(message) {
      ending = true
      worker.ref()
      worker.postMessage(message)
      return exited
    },
  }
}
