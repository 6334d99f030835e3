/** The devices, on a process of their own, so that they take nothing from who is measured but a processor. */
import { type DeviceSimulator, startDeviceSimulator } from '../../src/testing/device-simulator.ts'
import { serveSide } from '../harness/side.ts'

let simulator: DeviceSimulator | undefined

const methods = {
  async open({ url, ids, connections }: { url: string; ids: readonly string[]; connections: number }): Promise<void> {
    simulator = await startDeviceSimulator({ url, ids, connections, status: false })
  },
}

export type SimulatedDevices = typeof methods

serveSide(methods, async () => {
  await simulator?.close()
})
