import type { IncomingMessage } from '../client/mqtt-session.ts'
import { deviceText, fieldsOf } from '../devices/device-payload.ts'
import { REPORTED_STATES, type ReportedState } from './rollout.ts'

/** What a device is told to load. */
export interface Firmware {
  readonly url: string
  readonly version: string
  /** Bytes. */
  readonly size: number
  /** Of the whole file, in small hexadecimal digits. */
  readonly sha256: string
}

export type Report =
  | { readonly is: 'report'; readonly state: ReportedState; readonly reason: string | null }
  | { readonly is: 'invalid' | 'stray' }

/**
 * Reads a device's report: `{"rollout_id", "state", "version", "sha256", "message"}`. What speaks of another roll-out is
 * stray. A device that says it is updated has to say to what: another version, or another SHA-256 of what it has loaded, is a
 * failure, and none is no report.
 */
export function readReport(message: IncomingMessage, rollout_id: string, { version, sha256 }: Firmware): Report {
  const field = fieldsOf(message)
  if (field === null) return { is: 'invalid' }
  const rollout = field('rollout_id')
  if (typeof rollout !== 'string') return { is: 'invalid' }
  if (rollout !== rollout_id) return { is: 'stray' }
  const state = REPORTED_STATES.find((each) => each === field('state'))
  if (state === undefined) return { is: 'invalid' }
  if (state === 'failed') return { is: 'report', state, reason: deviceText(field('message')) }
  const hash = field('sha256')
  if (hash !== undefined && typeof hash !== 'string') return { is: 'invalid' }
  if (hash !== undefined && hash.toLowerCase() !== sha256) {
    return { is: 'report', state: 'failed', reason: 'it has loaded a file with another SHA-256' }
  }
  if (state !== 'updated') return { is: 'report', state, reason: null }
  const running = field('version')
  if (typeof running !== 'string') return { is: 'invalid' }
  if (running === version) return { is: 'report', state, reason: null }
  return { is: 'report', state: 'failed', reason: `it says that it runs version ${deviceText(running, 100)}` }
}
