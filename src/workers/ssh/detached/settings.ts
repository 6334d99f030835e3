import { z } from 'zod'

/** Settings of detached commands; a part of those of the worker. */
export const detachedSettings = {
  detach_max_bytes: z
    .number()
    .int()
    .min(1024)
    .max(2 ** 40)
    .default(1024 ** 3)
    .describe('bytes of each output stream that a host keeps for a detached command; what is beyond is dropped'),
}
