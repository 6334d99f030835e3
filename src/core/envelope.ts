import { z } from 'zod'
import { PRIORITIES } from './operation.ts'

/** The call envelope: what every call of every operation may carry beside its own input. */
export const envelopeSchema = z.object({
  target: z.string().min(1).max(128).optional().describe('name of the target in the inventory'),
  timeout: z
    .number()
    .positive()
    .max(86_400)
    .optional()
    .describe('deadline of the whole run in seconds, waiting included; default: that of the operation'),
  idempotency_key: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe('the same key with the same input is the same run: it is done once, however often it is called'),
  priority: z.enum(PRIORITIES).default('normal').describe('order in the queue'),
  wait: z
    .number()
    .min(0)
    .optional()
    .describe('seconds to wait for the result; after that the handle (run_id) is answered and the run goes on'),
  reason: z.string().max(500).optional().describe('why it is done; kept in the journal'),
  plan_digest: z.string().max(200).optional().describe('digest of the plan to apply, for operations that have plans'),
})

export type Envelope = z.output<typeof envelopeSchema>
export type EnvelopeInput = z.input<typeof envelopeSchema>
