import { z } from 'zod'

/** Devices of one call. */
export const MAX_DEVICES = 100_000

/** Ids of devices, each once. */
export function deviceIdsInput(most: number) {
  return z
    .array(z.string().min(1).max(300))
    .min(1)
    .max(most)
    .refine((ids) => new Set(ids).size === ids.length, { error: 'must not name a device twice' })
}

export const topicPattern = () => z.string().min(1).max(1_000)
