import { z } from 'zod'

/** A folder with a query would cover what is below it with any query; a name or a fragment means nothing here. */
const allowedUrl = z
  .url({ protocol: /^https?$/ })
  .max(1_000)
  .refine(
    (text) => {
      const url = URL.parse(text)
      return url === null || (url.username === '' && url.password === '' && url.hash === '' && !/\/[?]/.test(text))
    },
    { error: 'must be a folder or a file, without credentials and fragment; a folder has no query' },
  )

export const otaSettings = z.strictObject({
  allowed_urls: z
    .array(allowedUrl)
    .max(100)
    .default([])
    .describe(
      'folders or files that devices may be told to load, such as https://firmware.example.org/pumps/; empty: none',
    ),
  allow_http: z
    .boolean()
    .default(false)
    .describe('whether one of them may be http: devices then take the SHA-256 for all that protects them'),
  max_size: z
    .number()
    .int()
    .min(1)
    .max(1_099_511_627_776)
    .default(1_073_741_824)
    .describe('bytes of the largest file that devices may be told to load'),
})

export type OtaSettings = z.output<typeof otaSettings>
