import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { certaintyOf } from '../../../core/result.ts'

/**
 * What ends an operation after devices were told. Most refusals of a broker say that nothing was done, which is true for
 * what was just asked of it, and not for the operation: that one must not count as never begun. MHV_MQTT_CUT_SHORT then,
 * with code, reason and remedy of the refusal; any other error is itself.
 */
export function cutShort(thrown: unknown): MhvError {
  const error = toMhvError(thrown)
  if (certaintyOf(error.code) !== 'none') return error
  return mhvError('MHV_MQTT_CUT_SHORT', `devices were told before this happened: ${error.code}: ${error.message}`, {
    remedy: error.remedy,
    details: { ...error.details, error_code: error.code },
    cause: error,
  })
}
