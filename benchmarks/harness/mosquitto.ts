import { rmSync } from 'node:fs'
import { mosquittoMissing, startMosquitto } from '../../test/helpers/mosquitto.ts'

/** Nothing is logged but what goes wrong, and nothing that is queued is dropped: all sides alike. */
const CONFIG = ['log_type error', 'max_queued_messages 0', 'max_inflight_messages 0']

/** A broker on loopback, for all sides alike. */
export interface BenchBroker {
  readonly host: string
  readonly port: number
  readonly url: string
  /** What the rows say of it. */
  readonly settings: Readonly<Record<string, unknown>>
  close(): Promise<void>
}

export function brokerMissing(): string | undefined {
  return mosquittoMissing()
}

export async function startBroker(): Promise<BenchBroker> {
  const { host, port, url, pid, folder, stop } = await startMosquitto({ config: CONFIG })
  const abandon = () => {
    process.kill(pid)
    rmSync(folder, { recursive: true, force: true })
  }
  process.on('exit', abandon)
  return {
    host,
    port,
    url,
    settings: { broker: 'mosquitto, loopback, set_tcp_nodelay true', more: CONFIG },
    async close() {
      process.off('exit', abandon)
      await stop()
    },
  }
}
