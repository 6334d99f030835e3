/** Our side of commands to devices: the program as it is shipped. */
import { createInstances, production } from '../../src/app.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { TARGET } from '../harness/instance-folder.ts'
import { serveSide } from '../harness/side.ts'

let instance: Instance | undefined

const methods = {
  async open({ folder }: { folder: string }): Promise<void> {
    // Without the variables of whoever runs the benchmark: they are settings, too.
    instance = await createInstances({ ...production(), env: {} }).open({ folder, doing: 'a benchmark' })
  },
  /** Seconds from the call until it is answered, every device having acknowledged. */
  async command({ ids }: { ids: readonly string[] }): Promise<number> {
    if (instance === undefined) throw new Error('not open')
    const { invoke, principal } = instance
    const began = performance.now()
    const result = await invoke({
      operation: 'mqtt.publish_to_devices',
      input: { device_ids: ids, command: { action: 'ping' }, rows: 0 },
      envelope: { target: TARGET, timeout: 120, wait: 120 },
      principal,
      surface: 'embedded',
    })
    const seconds = (performance.now() - began) / 1_000
    const { acknowledged } = (result.data ?? {}) as { acknowledged?: number }
    if (acknowledged !== ids.length) throw new Error(`${acknowledged} of ${ids.length} acknowledged: ${result.error}`)
    return seconds
  },
}

export type MqttDevicesSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
