/** Another peer of `mqtt.publish`: paho, the MQTT library of Python, in a process of its own that is kept. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { PublishLoad } from './bare-mqtt.ts'

export interface Paho {
  readonly version: string
  open(options: { readonly host: string; readonly port: number; readonly window: number }): Promise<void>
  publish(load: PublishLoad): Promise<number>
  close(): Promise<void>
}

/** Debian's first: that is where python3-paho-mqtt is, and another Python may come before it in the PATH. */
const PYTHONS = ['/usr/bin/python3', 'python3']

function pythonWithIt(): string | undefined {
  return PYTHONS.find((python) => spawnSync(python, ['-c', 'import paho.mqtt.client']).status === 0)
}

/** Why it cannot be compared with, and how to get it; undefined where it can. */
export function pahoMissing(): string | undefined {
  return pythonWithIt() === undefined ? 'paho is not there: install python3-paho-mqtt' : undefined
}

export async function startPaho(): Promise<Paho> {
  const python = pythonWithIt()
  if (python === undefined) throw new Error(pahoMissing())
  const program = fileURLToPath(new URL('./paho-load.py', import.meta.url))
  const child = spawn(python, ['-W', 'ignore', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()

  async function answer<T>(): Promise<T> {
    const { value, done } = await lines.next()
    if (done) throw new Error('paho ended before it answered')
    const reply = JSON.parse(value)
    if ('error' in reply) throw new Error(`paho: ${reply.error}`)
    return reply.answer
  }
  function call<T>(method: string, argument: unknown): Promise<T> {
    child.stdin.write(`${JSON.stringify({ method, argument })}\n`)
    return answer()
  }

  return {
    version: await answer<string>(),
    open: (options) => call('open', options),
    publish: (load) => call('publish', load),
    async close() {
      child.stdin.end()
      await exited
    },
  }
}
