import { hostname } from 'node:os'
import type { WorkerContext } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import type { MqttSettings, MqttTarget } from '../settings.ts'
import type { BrokerCall, MqttConnection } from './mqtt-session.ts'
import { createSession, type OwnedSession } from './session/session.ts'

/** Sessions of this process that have no client id of their own: two clients with one id would throw each other out. */
let generated = 0

function newClientId(): string {
  generated += 1
  const host = hostname().replace(/[^A-Za-z0-9._-]/g, '_')
  return `mahavishnu-${host}-${process.pid}${generated === 1 ? '' : `-${generated}`}`
}

/** All sessions of the worker: one for each broker list, identity and generation of settings. */
export function createMqttConnection(context: WorkerContext<MqttSettings>): MqttConnection {
  const sessions = new Map<string, OwnedSession>()
  /** The inventory gives the same objects every time, where the worker is not in a process of its own. */
  const found = new WeakMap<MqttTarget, WeakMap<MqttSettings, OwnedSession>>()
  /** Targets with a client id of their own that have a session. */
  const taken: MqttTarget[] = []
  let closed = false

  function sessionFor({ target, settings }: BrokerCall): OwnedSession {
    const key = JSON.stringify([target, ownSettings(settings)])
    let session = sessions.get(key)
    if (session === undefined) {
      refuseTheTaken(target)
      session = createSession({ target, settings, client_id: target.client_id ?? newClientId(), context })
      sessions.set(key, session)
      if (target.client_id !== undefined) taken.push(target)
    }
    return session
  }

  /** Two sessions of ours with one client id would throw each other out of the broker, for ever. */
  function refuseTheTaken({ client_id, brokers }: MqttTarget): void {
    if (client_id === undefined) return
    const urls = new Set(brokers.map(({ url }) => url))
    for (const other of taken) {
      const { url } = other.brokers.find((broker) => urls.has(broker.url)) ?? {}
      if (other.client_id !== client_id || url === undefined) continue
      const why = `client_id ${JSON.stringify(client_id)} is in use at ${url} by another target, or the same one with other settings`
      throw mhvError('MHV_MQTT_CONNECT_REJECTED', why, { details: { endpoint: url, client_id } })
    }
  }

  return {
    secrets: context.secrets,
    broker(call) {
      if (closed) throw mhvError('MHV_MQTT_NOT_CONNECTED', 'the connections are being closed')
      const known = found.get(call.target) ?? new WeakMap<MqttSettings, OwnedSession>()
      found.set(call.target, known)
      let session = known.get(call.settings)
      if (session === undefined) {
        session = sessionFor(call)
        known.set(call.settings, session)
      }
      return session
    },
    stats() {
      const all = [...sessions.values()].map((session) => session.facts())
      const sum = (of: (facts: (typeof all)[number]) => number) => all.reduce((total, facts) => total + of(facts), 0)
      return {
        connections: all.length,
        connected: all.filter(({ state }) => state === 'connected').length,
        refused: all.filter(({ state }) => state === 'refused').length,
        subscriptions: sum((facts) => facts.subscriptions),
        published: sum((facts) => facts.published),
        received: sum((facts) => facts.received),
        dropped: sum((facts) => facts.dropped),
        duplicates: sum((facts) => facts.duplicates),
        impostors: sum((facts) => facts.impostors),
        lost: sum((facts) => facts.lost),
        sessions_lost: sum((facts) => facts.sessions_lost),
        switches: sum((facts) => facts.switches),
        failures: sum((facts) => facts.failures),
        buffered_bytes: sum((facts) => facts.buffered_bytes),
      }
    },
    async close() {
      closed = true
      await Promise.all([...sessions.values()].map((session) => session.close()))
      sessions.clear()
    },
  }
}

/** Without what is of no concern to a connection: what every worker has, and what is done by others over it. */
function ownSettings(settings: MqttSettings): unknown {
  const {
    topic_rules: _rules,
    outbox: _o,
    ota: _ota,
    subscriptions: _s,
    messages: _m,
    request_timeout: _t,
    ...own
  } = settings
  const { admission: _a, retry: _r, circuit_breaker: _c, dead_letters: _d, ...rest } = own as Record<string, unknown>
  return rest
}
