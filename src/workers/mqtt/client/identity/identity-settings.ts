import { z } from 'zod'

const MISMATCHES = ['reject', 'mark', 'ignore'] as const

export const identitySettings = z.strictObject({
  mismatch: z
    .enum(MISMATCHES)
    .default('reject')
    .describe(
      'messages whose payload, or sender, is another device than the one of their topic: reject hands them to nobody ' +
        'and counts them, mark hands them on with identity_problem',
    ),
  sender_property: z
    .string()
    .max(300)
    .default('')
    .describe(
      'user property in which the broker passes on the client id or the certificate name of the sender (MQTT 5); only ' +
        'where the broker sets it itself, since a client can set any; empty: the broker does not',
    ),
})

export type IdentitySettings = z.output<typeof identitySettings>
