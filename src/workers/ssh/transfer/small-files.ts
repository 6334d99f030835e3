import { Worker } from 'node:worker_threads'
import { entryPoint } from '../../../core/entry-point.ts'
import type { Answer, ReadTask, RenameTask, SmallFile, Task, WriteTask, Written } from './local-thread.ts'

/** Largest file that is handed over whole. */
export const SMALL = 64 * 1024

/** Local work on small files, done by a thread. Rejects with errors that have a system's `code`. */
export interface SmallFiles {
  read(task: Omit<ReadTask, 'kind' | 'max'>): Promise<SmallFile>
  write(task: Omit<WriteTask, 'kind'>): Promise<Written>
  rename(task: Omit<RenameTask, 'kind'>): Promise<void>
  /** Ends the thread when nobody uses it for some time. */
  release(): void
}

/** Milliseconds for which the thread stays without work: starting it takes some 30. */
const IDLE_MS = 10_000

interface Waiting {
  readonly task: Task
  resolve(value: unknown): void
  reject(error: Error): void
}

interface Thread {
  ask(task: Task): Promise<unknown>
  end(): void
  readonly alive: boolean
}

/** One batch is under way at a time: what comes meanwhile goes together with the next one. */
function startThread(): Thread {
  // Files that it leaves open are closed by the main thread: it must not keep account of them.
  const worker = new Worker(entryPoint(import.meta.url, './local-thread'), { trackUnmanagedFds: false })
  worker.unref()
  let queue: Waiting[] = []
  let sent: Waiting[] = []
  let alive = true

  function flush(): void {
    if (sent.length > 0 || queue.length === 0) return
    sent = queue
    queue = []
    worker.postMessage(sent.map(({ task }) => task))
  }
  function lost(error: Error): void {
    alive = false
    for (const { reject } of [...sent, ...queue]) reject(error)
    sent = []
    queue = []
  }
  worker.on('message', (answers: readonly Answer[]) => {
    const answered = sent
    sent = []
    answered.forEach(({ resolve, reject }, at) => {
      const answer = answers[at] as Answer
      if ('value' in answer) resolve(answer.value)
      else reject(Object.assign(new Error(answer.message), { code: answer.code }))
    })
    flush()
  })
  worker.on('error', lost)
  worker.on('exit', () => lost(new Error('the thread for local files has ended')))

  return {
    ask(task) {
      return new Promise((resolve, reject) => {
        if (!alive) return reject(new Error('the thread for local files has ended'))
        queue.push({ task, resolve, reject })
        if (queue.length === 1) setImmediate(flush)
      })
    },
    end: () => void worker.terminate(),
    get alive() {
      return alive
    },
  }
}

let shared: Thread | undefined
let users = 0
let idle: NodeJS.Timeout | undefined

/** The one thread of this process, started when it is needed. */
export function useSmallFiles(): SmallFiles {
  if (shared === undefined || !shared.alive) shared = startThread()
  const thread = shared
  users += 1
  clearTimeout(idle)
  return {
    read: (task) => thread.ask({ ...task, kind: 'read', max: SMALL }) as Promise<SmallFile>,
    write: (task) => thread.ask({ ...task, kind: 'write' }) as Promise<Written>,
    rename: (task) => thread.ask({ ...task, kind: 'rename' }) as Promise<void>,
    release() {
      users -= 1
      if (users > 0) return
      idle = setTimeout(() => {
        if (users > 0) return
        shared?.end()
        shared = undefined
      }, IDLE_MS).unref()
    },
  }
}
