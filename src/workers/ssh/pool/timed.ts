import type { WorkerContext } from '../../../core/context.ts'
import { toMhvError } from '../../../core/errors.ts'

/** Makes a connection, and tells how long that took, or why it failed. */
export async function timed<T>(
  { clock, onConnect }: Pick<WorkerContext, 'clock' | 'onConnect'>,
  connecting: () => Promise<T>,
): Promise<T> {
  const began = clock.monotonic()
  const seconds = () => (clock.monotonic() - began) / 1000
  try {
    const made = await connecting()
    onConnect?.({ seconds: seconds(), error_code: null })
    return made
  } catch (error) {
    onConnect?.({ seconds: seconds(), error_code: toMhvError(error).code })
    throw error
  }
}
