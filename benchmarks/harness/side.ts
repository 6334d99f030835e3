import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * A side is measured in a process of its own: neither its heap nor what V8 has learned of its code then depends on the
 * other side. It does nothing while the other one is measured.
 */
export type Methods = { readonly [name: string]: (argument: never) => Promise<unknown> }

type ArgumentOf<M extends Methods, K extends keyof M> = Parameters<M[K]>[0]
type AnswerOf<M extends Methods, K extends keyof M> = Awaited<ReturnType<M[K]>>

export interface Side<M extends Methods> {
  readonly pid: number
  call<K extends keyof M & string>(method: K, argument: ArgumentOf<M, K>): Promise<AnswerOf<M, K>>
  /** Lets it end by itself; calls its `close` first, where it has one. */
  end(): Promise<void>
}

interface Call {
  readonly method: string
  readonly argument: unknown
}

type Reply = { readonly answer: unknown } | { readonly error: string }

/** How long a side may take to end by itself. */
const END_MS = 10_000

export interface SideOptions {
  /** Folder for a CPU profile of the side and of its threads. */
  readonly profile?: string | undefined
  /** Further arguments of Node. */
  readonly nodeArguments?: readonly string[]
}

/** Starts a module that calls `serveSide`, under the Node that runs here. One call at a time. */
export async function startSide<M extends Methods>(module: URL, options: SideOptions = {}): Promise<Side<M>> {
  const profiling = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
  const child = fork(fileURLToPath(module), [], {
    execArgv: [...profiling, ...(options.nodeArguments ?? [])],
    stdio: ['ignore', 2, 2, 'ipc'],
  })
  const exited = once(child, 'exit')
  const gone = exited.then(([code, signal]) => {
    throw new Error(`${fileURLToPath(module)} ended before it answered (${signal ?? code})`)
  })
  gone.catch(() => undefined)
  await Promise.race([once(child, 'message'), gone])

  async function call(method: string, argument: unknown): Promise<unknown> {
    const replied = once(child, 'message')
    child.send({ method, argument } satisfies Call)
    const [reply] = (await Promise.race([replied, gone])) as [Reply]
    if ('error' in reply) throw new Error(`${method}: ${reply.error}`)
    return reply.answer
  }

  return {
    pid: child.pid ?? 0,
    call: call as Side<M>['call'],
    async end() {
      if (hasEnded(child)) return
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS)
      child.disconnect()
      await exited
      clearTimeout(timer)
    },
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

/** Answers the calls of `startSide`; ends when it is let go, or when the benchmark has gone away. */
export function serveSide<M extends Methods>(methods: M, close: () => Promise<void> = async () => undefined): void {
  const send = (reply: Reply | 'ready') => process.send?.(reply)
  process.on('message', ({ method, argument }: Call) => {
    const run = methods[method] as ((argument: unknown) => Promise<unknown>) | undefined
    Promise.resolve()
      .then(() => (run ? run(argument) : Promise.reject(new Error('there is no such method'))))
      .then(
        (answer) => send({ answer }),
        (error: unknown) => send({ error: error instanceof Error ? String(error.stack) : String(error) }),
      )
  })
  process.once('disconnect', () => {
    // Whoever aborted the benchmark signalled the group; nothing is left to be told.
    void close().finally(() => process.exit(0))
  })
  send('ready')
}
