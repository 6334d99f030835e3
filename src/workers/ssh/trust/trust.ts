import { mhvError } from '../../../core/errors.ts'
import { type ConnectRequest, knownKeys } from '../connect.ts'
import { endpointName } from '../connect-errors.ts'
import { judgeHostKey, recordHostKey, refusalOf } from '../host-keys.ts'
import type { SshEndpoint } from '../route/endpoint.ts'
import { findRoute } from '../route/route.ts'
import type { SshContext } from '../run-command.ts'
import { lookAtKeys } from './look-at-keys.ts'
import type { TrustData, TrustInput } from './trust-host.ts'

/** Looks at a host's keys and, where one of them is accepted, keeps it. Throws what `trustHost` declares. */
export async function trust(ctx: SshContext, { accept }: TrustInput): Promise<TrustData> {
  const { connection, settings, secrets, clock, log, signal } = ctx
  const request: ConnectRequest = {
    target: ctx.target.address,
    settings,
    secrets,
    clock,
    log,
    folder: connection.folder,
  }
  const route = await findRoute(request.target, settings, request.folder)
  const endpoint = route.at(-1) as SshEndpoint
  const name = endpointName(endpoint)
  const keys = await lookAtKeys(request, route, signal)
  // Having no known_hosts file at all is no reason not to begin one.
  const { names, ours, files } = await knownKeys(request, endpoint, 'accept_new')
  const verdicts = keys.map((key) => ({ key, verdict: judgeHostKey(files, names, key) }))
  const shown = verdicts.map(({ verdict: { type, fingerprint, kind, place, others = [] } }) => ({
    type,
    fingerprint,
    state: kind,
    known_hosts: place ?? null,
    known_keys: others.map((other) => ({ ...other })),
  }))
  const data = { host: name, name: names[0], keys: shown }
  if (accept === undefined) return { ...data, recorded: null, file: null }

  const chosen = verdicts.find(({ verdict }) => verdict.fingerprint === accept)
  if (chosen === undefined) {
    const list = shown.map(({ type, fingerprint }) => `${type} ${fingerprint}`).join(', ') || 'no key of a known type'
    throw mhvError('MHV_SSH_TRUST_REFUSED', `${name} shows no key ${accept}, but ${list}`, { details: { keys: shown } })
  }
  const { key, verdict } = chosen
  if (verdict.kind === 'known') return { ...data, recorded: null, file: null }
  if (verdict.kind !== 'unknown') throw refusalOf(verdict, name, names) as Error
  signal.throwIfAborted()
  const comment = `trusted by ${ctx.principal.id} at ${new Date(clock.now()).toISOString()} in run ${ctx.run_id}`
  const recorded = await recordHostKey(ours, names, key, log, comment)
  const refusal = refusalOf(recorded, name, names)
  if (refusal !== undefined) throw refusal
  return { ...data, recorded: accept, file: ours }
}
