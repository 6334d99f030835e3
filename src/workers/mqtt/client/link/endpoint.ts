import type { BrokerAddress } from '../../settings.ts'

/** A broker's address, taken apart. */
export interface Endpoint {
  readonly protocol: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  /** Without the brackets of an IPv6 address. */
  readonly host: string
  readonly port: number
  /** Path of a WebSocket; `/` otherwise. */
  readonly path: string
  readonly server_name: string | undefined
  readonly tls: boolean
  /** How it is shown: `mqtts://host:8883`. */
  readonly name: string
}

const PORTS = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 } as const

/** The settings' schema has checked the URL. */
export function endpointOf({ url, server_name }: BrokerAddress): Endpoint {
  const [, scheme = '', bracketed, plain, port, path] =
    /^([a-z]+):\/\/(?:\[([^\]]*)\]|([^/:]*))(?::([0-9]+))?(\/.*)?$/.exec(url) ?? []
  const protocol = scheme as Endpoint['protocol']
  const host = bracketed ?? plain ?? ''
  const number = Number(port ?? PORTS[protocol])
  return {
    protocol,
    host,
    port: number,
    path: path ?? '/',
    server_name,
    tls: protocol === 'mqtts' || protocol === 'wss',
    name: `${protocol}://${bracketed === undefined ? host : `[${bracketed}]`}:${number}`,
  }
}
