import { fromWire, type MhvError } from '../core/errors.ts'
import { createFifo } from './fifo.ts'
import { isRefusal, type Query, type QueryAnswer, type ReaderData, type Refusal, type ToReader } from './protocol.ts'
import { startThread, type Thread } from './thread.ts'

/** Asks the reading thread. */
export interface Reader {
  readonly pragmas: Thread<ToReader>['pragmas']
  ask(query: Query): Promise<QueryAnswer>
  /** Answers what was asked, then ends the thread. */
  close(): Promise<void>
}

interface Asked {
  resolve(rows: QueryAnswer): void
  reject(error: MhvError): void
}

/** Starts the reading thread; `died` is called when it ends by itself, after everything asked has been refused. */
export async function startReader(entry: URL, data: ReaderData, died: () => void): Promise<Reader> {
  const asked = createFifo<Asked>()
  let dead: MhvError | undefined

  const thread = await startThread<ToReader>(entry, data, {
    message(message) {
      const call = asked.shift()
      if (asked.size() === 0) thread.hold(false)
      if (isRefusal(message)) call?.reject(fromWire((message as Refusal).error))
      else call?.resolve(message as QueryAnswer)
    },
    died(error) {
      dead = error
      for (let call = asked.shift(); call !== undefined; call = asked.shift()) call.reject(error)
      died()
    },
  })

  return {
    pragmas: thread.pragmas,
    ask(query) {
      return new Promise((resolve, reject) => {
        if (dead !== undefined) return reject(dead)
        asked.push({ resolve, reject })
        thread.hold(true)
        thread.post(query)
      })
    },
    close: () => thread.end('close'),
  }
}
