import { type MhvError, mhvError, outOfDescriptors, systemCode } from '../../core/errors.ts'
import type { LogIn } from './credentials.ts'
import { plainText } from './remote-text.ts'
import type { SshEndpoint } from './route/endpoint.ts'

/** How far an attempt to connect has come; each stage is a thing that can take too long or go wrong. */
export type ConnectStage = 'name' | 'tcp' | 'banner' | 'handshake' | 'authentication' | 'shell'

const WAITING_FOR: Readonly<Record<ConnectStage, string>> = {
  name: 'its name could not be resolved in time',
  tcp: 'nothing answers there',
  banner: 'it takes connections but sends no SSH banner',
  handshake: 'the SSH handshake was not finished',
  authentication: 'the authentication was not finished',
  shell: 'the login shell did not answer',
}

/** What can be named as `host:port`; without a port, it is not known yet whether ssh_config names one. */
interface Named {
  readonly host: string
  readonly port?: number | undefined
}

export function endpointName({ host, port }: Named): string {
  return `${host.includes(':') ? `[${host}]` : host}${port === undefined ? '' : `:${port}`}`
}

export function connectTimeout(target: Named, seconds: number, stage: ConnectStage): MhvError {
  return mhvError('MHV_SSH_CONNECT_TIMEOUT', `${endpointName(target)}: after ${seconds} s ${WAITING_FOR[stage]}`, {
    details: { stage },
  })
}

/**
 * What a failed attempt means, from Node's codes and ssh2's `level` (a stable part of its errors). Messages are only
 * looked at to word the answer and to find the one disconnect that is about credentials, which has no code of its own.
 */
export function connectError(error: unknown, stage: ConnectStage, target: SshEndpoint, logIn: LogIn): MhvError {
  const ours = logIn.failure()
  if (ours) return ours
  const where = endpointName(target)
  const message = plainText(error instanceof Error ? error.message : String(error))
  if (logIn.exhausted() || (stage === 'authentication' && TOO_MANY.test(message))) {
    return authFailed(target, logIn, message)
  }
  const ownFault = outOfDescriptors(error, `connecting to ${where}`)
  if (ownFault) return ownFault
  const options = { details: { stage }, cause: error }
  const code = systemCode(error)
  switch (code) {
    case 'ECONNREFUSED':
      return mhvError('MHV_SSH_CONNECT_REFUSED', `${where} refused the connection`, options)
    case 'ETIMEDOUT':
      return mhvError('MHV_SSH_CONNECT_TIMEOUT', `${where}: nothing answers there`, options)
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EAI_FAIL':
    case 'EAI_NODATA':
    case 'EAI_NONAME':
      return mhvError('MHV_SSH_CONNECT_FAILED', `the name ${target.host} could not be resolved (${code})`, options)
    case undefined:
      return mhvError('MHV_SSH_CONNECT_FAILED', `${where}: ${message}`, options)
    default:
      return mhvError('MHV_SSH_CONNECT_FAILED', `${where}: ${code} (${WAS[stage]})`, options)
  }
}

const WAS: Readonly<Record<ConnectStage, string>> = {
  name: 'while its name was resolved',
  tcp: 'while connecting',
  banner: 'before its SSH banner',
  handshake: 'during the SSH handshake',
  authentication: 'during authentication',
  shell: 'while the login shell was asked',
}

/** The host hung up before everything was ready. */
export function closedEarly(target: SshEndpoint, stage: ConnectStage): MhvError {
  return mhvError('MHV_SSH_CONNECT_FAILED', `${endpointName(target)} closed the connection ${WAS[stage]}`, {
    details: { stage },
  })
}

/** How ssh2 words the message with which sshd ends a log-in after too many attempts. */
const TOO_MANY = /authentication failures/i

function authFailed(target: SshEndpoint, logIn: LogIn, message: string): MhvError {
  const { tried } = logIn
  const who = `${target.user}@${endpointName(target)}`
  if (tried.length === 0) {
    return mhvError('MHV_SSH_AUTH_FAILED', `${who}: the target names no credentials`, {
      remedy: 'Give the target identity_files, an agent or a password in settings/inventory.yaml.',
    })
  }
  const details = { tried }
  const refused = `${who} accepted none of: ${tried.join('; ')}`
  if (!TOO_MANY.test(message)) return mhvError('MHV_SSH_AUTH_FAILED', refused, { details })
  return mhvError(
    'MHV_SSH_AUTH_FAILED',
    `${refused}; then the host ended the log-in, having counted too many attempts: ${message}`,
    {
      details,
      remedy:
        'Every key that is offered counts (MaxAuthTries on the host): put the right one first in identity_files, or with an agent set IdentitiesOnly for the host in ssh_config.',
    },
  )
}
