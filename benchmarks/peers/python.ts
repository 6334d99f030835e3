/** Peers that are libraries of Python, each in a process of its own that is kept. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** Debian's first: that is where its packages are, and another Python may come before it in the PATH. */
const PYTHONS = ['/usr/bin/python3', 'python3']

/** A Python that can import the module; undefined where there is none. */
export function pythonWith(module: string): string | undefined {
  return PYTHONS.find((python) => spawnSync(python, ['-W', 'ignore', '-c', `import ${module}`]).status === 0)
}

/** A program that answers one line of JSON with another, after a first line with its version. */
export interface PythonPeer {
  readonly version: string
  call<T>(method: string, argument: unknown): Promise<T>
  close(): Promise<void>
}

export async function startPython(python: string, program: string, name: string): Promise<PythonPeer> {
  const child = spawn(python, ['-W', 'ignore', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()

  async function answer<T>(): Promise<T> {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${name} ended before it answered`)
    const reply = JSON.parse(value)
    if ('error' in reply) throw new Error(`${name}: ${reply.error}`)
    return reply.answer
  }

  return {
    version: await answer<string>(),
    call(method, argument) {
      child.stdin.write(`${JSON.stringify({ method, argument })}\n`)
      return answer()
    },
    async close() {
      child.stdin.end()
      await exited
    },
  }
}
