/** Another peer of `mqtt.publish`: paho, the MQTT library of Python, in a process of its own that is kept. */
import { fileURLToPath } from 'node:url'
import type { PublishLoad } from './bare-mqtt.ts'
import { pythonWith, startPython } from './python.ts'

export interface Paho {
  readonly version: string
  open(options: { readonly host: string; readonly port: number; readonly window: number }): Promise<void>
  publish(load: PublishLoad): Promise<number>
  close(): Promise<void>
}

/** Why it cannot be compared with, and how to get it; undefined where it can. */
export function pahoMissing(): string | undefined {
  return pythonWith('paho.mqtt.client') === undefined ? 'paho is not there: install python3-paho-mqtt' : undefined
}

export async function startPaho(): Promise<Paho> {
  const python = pythonWith('paho.mqtt.client')
  if (python === undefined) throw new Error(pahoMissing())
  const program = fileURLToPath(new URL('./paho-load.py', import.meta.url))
  const peer = await startPython(python, program, 'paho')
  return {
    version: peer.version,
    open: (options) => peer.call('open', options),
    publish: (load) => peer.call('publish', load),
    close: () => peer.close(),
  }
}
