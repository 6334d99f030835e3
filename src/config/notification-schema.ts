import { z } from 'zod'
import { NOTIFICATION_SEVERITIES } from '../core/notifier.ts'
import { secretReference } from '../core/secret-reference.ts'

const seconds = (least: number, most: number) => z.number().min(least).max(most)
const count = (least: number, most: number) => z.number().int().min(least).max(most)

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/

/** https anywhere, http to this machine; no user name or password. Where it leads is looked at when it is sent. */
const WEBHOOK = /^(https:\/\/[^\s/@?#]+|http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?)([/?][^\s#]*)?$/
/** RFC 9110, 5.6.2: a token; and a value without control characters, which could begin another header. */
const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/
const HEADER_VALUE = /^[\x20-\x7e]{0,1000}$/

const common = {
  least_severity: z.enum(NOTIFICATION_SEVERITIES).default('warning').describe('only what is at least so severe'),
  kinds: z.array(z.string().min(1).max(100)).max(100).default([]).describe('only these kinds; empty: all'),
  timeout_seconds: seconds(0.1, 300).default(10).describe('longest time of one delivery'),
}

const webhook = z.strictObject({
  webhook: z
    .string()
    .max(2_000)
    .regex(WEBHOOK, { error: 'must be an https URL, or http to this machine' })
    .describe('URL that is posted to'),
  secret: secretReference().describe('the secret that signs it: whsec_ and base64'),
  headers: z
    .record(z.string().regex(HEADER), z.string().regex(HEADER_VALUE))
    .default({})
    .describe('further headers; no secrets'),
  ...common,
})

const command = z.strictObject({
  command: z
    .array(
      z
        .string()
        .max(4_096)
        .regex(/^[^\0]*$/),
    )
    .min(1)
    .max(100)
    .describe('program and arguments; the notification comes on its standard input'),
  ...common,
})

/** Settings of the notifier. */
export const notificationSettingsSchema = z.strictObject({
  destinations: z
    .record(z.string().regex(NAME), z.union([webhook, command]))
    .default({})
    .describe('who is told, by name: signed webhooks and programs; docs/guides/notifications.md shows both'),
  dedupe_seconds: seconds(0, 86_400).default(300).describe('the same thing is told once in so many seconds'),
  rate_per_minute: count(1, 10_000)
    .default(30)
    .describe('notifications of one destination per minute; more are left out'),
  max_waiting: count(1, 100_000).default(1_000).describe('notifications that may wait for one destination'),
  max_attempts: count(1, 1_000).default(40).describe('tries to deliver one notification'),
  retry: z
    .strictObject({
      base_ms: count(1, 600_000).default(1_000).describe('ceiling of the first wait between two tries; it doubles'),
      cap_ms: count(1, 86_400_000).default(900_000).describe('highest ceiling of a wait between two tries'),
    })
    .prefault({})
    .describe('waits between the tries of one delivery, with full jitter'),
})
