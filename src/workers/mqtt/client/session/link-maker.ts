import type { WorkerContext } from '../../../../core/context.ts'
import { MhvError } from '../../../../core/errors.ts'
import type { MqttSettings, MqttTarget } from '../../settings.ts'
import { readCredentials } from '../link/credentials.ts'
import { type Endpoint, endpointOf } from '../link/endpoint.ts'
import { type Link, openLink } from '../link/link.ts'
import type { IPublishPacket } from '../link/mqtt-library.ts'
import { createReceivedStore, type ReceivedStore } from '../link/packet-stores.ts'
import { createReceiveGate } from '../link/receiving.ts'

export interface LinkMakerParts {
  readonly target: MqttTarget
  readonly settings: MqttSettings
  readonly client_id: string
  readonly context: WorkerContext<MqttSettings>
  /** Topic of birth message and last will; undefined for neither. */
  readonly presence: string | undefined
  /** The broker has no session of ours. `lost`: it had one, and was to keep it until now. */
  onForgotten(endpoint: string, lost: boolean): void
  onPublish(packet: IPublishPacket, link: object): Promise<void> | undefined
}

/** Makes links to the brokers of one list, with what each of them needs to go on with its session. */
export interface LinkMaker {
  readonly endpoints: readonly Endpoint[]
  open(index: number, signal: AbortSignal): Promise<Link>
  /** A connection that is made and ended at once, as another client: whether the broker takes us. */
  look(index: number, signal: AbortSignal): Promise<void>
}

export function createLinkMaker(parts: LinkMakerParts): LinkMaker {
  const { target, settings, client_id, context, presence } = parts
  const endpoints = target.brokers.map(endpointOf)
  const stores = endpoints.map(createReceivedStore)
  const gate = createReceiveGate(settings.throttling)
  /** Brokers that this process has been connected to. */
  const met = new Set<number>()
  /** When the last link to each of them was over. */
  const leftAt = new Map<number, number>()
  const own = target.client_id !== undefined

  /** Whether the broker was told to keep a session from the last link until now. */
  function isOwed(index: number): boolean {
    const left = leftAt.get(index)
    if (left === undefined) return false
    if (target.protocol === '3.1.1') return own
    return context.clock.monotonic() - left < settings.session_expiry * 1000
  }

  async function open(index: number, signal: AbortSignal): Promise<Link> {
    const endpoint = endpoints[index] as Endpoint
    const received = stores[index] as ReceivedStore
    const started = context.clock.monotonic()
    const measure = (error: unknown) => {
      const seconds = (context.clock.monotonic() - started) / 1000
      const error_code = error === null ? null : error instanceof MhvError ? error.code : 'MHV_INTERNAL'
      if (!signal.aborted) context.onConnect?.({ seconds, error_code })
    }
    const token = {}
    try {
      const credentials = await readCredentials(target, context.secrets, context.folder)
      const link = await openLink(
        {
          endpoint,
          credentials,
          client_id,
          protocol: target.protocol,
          // A generated id may be that of a process that was here before; 3.1.1 keeps a session for ever.
          clean: own ? false : target.protocol === '3.1.1' || !met.has(index),
          session_expiry: settings.session_expiry,
          will:
            presence === undefined
              ? undefined
              : { topic: presence, payload: presencePayload('offline', client_id), retain: own },
          settings,
          received,
          gate,
          clock: context.clock,
          onSession(present) {
            if (present) return
            received.clear()
            parts.onForgotten(endpoint.name, isOwed(index))
          },
          onPublish: (packet) => parts.onPublish(packet, token),
        },
        signal,
      )
      met.add(index)
      void link.over.then(() => leftAt.set(index, context.clock.monotonic()))
      measure(null)
      return link
    } catch (error) {
      measure(error)
      throw error
    }
  }

  return {
    endpoints,
    open,
    async look(index, signal) {
      const link = await openLink(
        {
          endpoint: endpoints[index] as Endpoint,
          credentials: await readCredentials(target, context.secrets, context.folder),
          client_id: `${client_id}-probe`,
          protocol: target.protocol,
          clean: true,
          session_expiry: 0,
          settings,
          received: createReceivedStore(),
          gate: createReceiveGate(settings.throttling),
          clock: context.clock,
          onSession: () => undefined,
          onPublish: () => undefined,
        },
        signal,
      )
      await link.end(true)
    },
  }
}

/** Body of the birth message, the last will and the goodbye. */
export function presencePayload(status: 'online' | 'offline' | 'stopped', client_id: string): Buffer {
  return Buffer.from(JSON.stringify({ status, client_id }))
}
