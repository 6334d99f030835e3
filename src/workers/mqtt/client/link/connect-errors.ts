import { ERROR_TABLE } from '../../../../core/error-table.ts'
import { MhvError, mhvError, outOfDescriptors, systemCode } from '../../../../core/errors.ts'
import type { Endpoint } from './endpoint.ts'
import { BAD_CREDENTIALS, connackReason, NOT_AUTHORIZED, PASSING, reasonText } from './reason-codes.ts'

/** OpenSSL's codes of a chain that ends nowhere that is trusted. */
const UNTRUSTED = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'INVALID_CA',
  'INVALID_PURPOSE',
])
const EXPIRED = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'])
const NAMES = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME'])

/** Whatever kept a connection from being made, as an error of the table that says why and where. */
export function connectError(thrown: unknown, endpoint: Endpoint): MhvError {
  if (thrown instanceof MhvError) return thrown
  const where = endpoint.name
  const own = outOfDescriptors(thrown, `connecting to ${where}`)
  if (own) return own
  const options = { details: { endpoint: where }, cause: thrown }
  const code = systemCode(thrown)
  const message = plain(thrown instanceof Error ? thrown.message : String(thrown))
  if (code === undefined) return mhvError('MHV_MQTT_CONNECT_FAILED', `${where}: ${message}`, options)
  if (code === 'ECONNREFUSED') return mhvError('MHV_MQTT_CONNECT_REFUSED', `${where} refused the connection`, options)
  if (code === 'ETIMEDOUT') return mhvError('MHV_MQTT_CONNECT_TIMEOUT', `${where}: nothing answers there`, options)
  if (NAMES.has(code)) {
    return mhvError('MHV_MQTT_CONNECT_FAILED', `${where}: the name could not be resolved (${code})`, options)
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return mhvError('MHV_MQTT_TLS_NAME', `${where}: ${message}`, options)
  if (EXPIRED.has(code)) return mhvError('MHV_MQTT_TLS_EXPIRED', `${where}: ${message} (${code})`, options)
  if (UNTRUSTED.has(code)) return mhvError('MHV_MQTT_TLS_UNTRUSTED', `${where}: ${message} (${code})`, options)
  if (code.startsWith('ERR_SSL') || code === 'EPROTO' || code.startsWith('ERR_TLS')) {
    return mhvError('MHV_MQTT_TLS_FAILED', `${where}: ${message}`, options)
  }
  return mhvError(
    'MHV_MQTT_CONNECT_FAILED',
    `${where}: ${message.includes(code) ? message : `${message} (${code})`}`,
    options,
  )
}

/** The broker's own no. `code` is that of MQTT 5, or of 3.1.1, where the two do not overlap. */
export function refusedConnect(code: number, text: string | undefined, endpoint: Endpoint): MhvError {
  const reason = connackReason(code)
  const said = saidBy(text)
  const options = { details: { endpoint: endpoint.name, reason_code: reason } }
  const why = `${endpoint.name} refused the connection, ${reasonText(reason)}${said}`
  if (reason === BAD_CREDENTIALS || reason === NOT_AUTHORIZED || reason === 138 || reason === 140) {
    return mhvError('MHV_MQTT_AUTH_FAILED', why, options)
  }
  return mhvError(PASSING.has(reason) ? 'MHV_MQTT_CONNECT_FAILED' : 'MHV_MQTT_CONNECT_REJECTED', why, options)
}

/** Time alone does not heal it: to try again and again is of no use, and locks accounts. */
export function isRefusal(error: MhvError): boolean {
  const { category, retryable } = ERROR_TABLE[error.code]
  return !retryable && category !== 'transient' && category !== 'network'
}

/** What a broker adds to a reason code, where it does. */
export function saidBy(text: string | undefined): string {
  return text === undefined ? '' : `; it says: ${plain(text)}`
}

/** Text of a broker: bounded, and without anything that a terminal would take for more than text. */
function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').slice(0, 300)
}
