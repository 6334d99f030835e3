import { type MhvError, mhvError } from '../core/errors.ts'
import type { Answers, ChangeOp, Refusal, ToWriter, WriterData } from './protocol.ts'
import { storeClosed } from './rules.ts'
import { startThread, type Thread } from './thread.ts'
import { createWriteQueue, type Encoded, type WriterLimits } from './write-queue.ts'

/** Sends changes to the writing thread. */
export interface Writer {
  readonly pragmas: Thread<ToWriter>['pragmas']
  readonly fence: number
  /** See WriteQueue; refused once the thread has died. */
  send<Op extends ChangeOp>(encode: () => Encoded<Op>): Promise<Answers[Op]>
  /** Throws the reason when the thread has died. */
  assertAlive(): void
  /** Commits what has arrived, then ends the thread. */
  close(): Promise<void>
}

/** Starts the writing thread, which opens the journal and brings it up to date. */
export async function startWriter(entry: URL, data: WriterData, limits: WriterLimits): Promise<Writer> {
  let gone: MhvError | undefined
  const queue = createWriteQueue(
    {
      post: (changes, transfer) => thread.post(changes, transfer),
      hold: (busy) => thread.hold(busy),
    },
    limits,
  )
  const thread = await startThread<ToWriter>(entry, data, {
    message: (replies) => queue.settle(replies as readonly (Answers[ChangeOp] | Refusal)[]),
    died(error) {
      gone = error
      queue.fail(error)
    },
  })

  const assertAlive = (): void => {
    if (gone !== undefined) throw gone
  }
  return {
    pragmas: thread.pragmas,
    fence: thread.fence,
    send: (encode) => (gone === undefined ? queue.send(encode) : Promise.reject(gone)),
    assertAlive,
    async close() {
      while (queue.size().changes > 0) await queue.idle()
      if (gone !== undefined) return
      gone = storeClosed()
      await thread.end('close')
    },
  }
}

/** The writer of a journal that was opened for reading only. */
export function refusingWriter(path: string): Writer {
  return {
    pragmas: {},
    fence: 0,
    async send() {
      throw mhvError('MHV_JOURNAL_UNAVAILABLE', `journal ${path} was opened for reading only`, {
        remedy: 'Use the process that holds the instance folder, or stop it.',
      })
    },
    assertAlive: () => {},
    close: async () => {},
  }
}
