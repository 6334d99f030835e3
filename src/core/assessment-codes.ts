import type { ErrorCode } from './error-table.ts'
import type { RecoveryStrategy } from './worker.ts'

/** What becomes of an error code of the original assessment: codes of ours, or the worker that will have it. */
export interface AssessmentCode {
  /** What the assessment wants done about it. */
  readonly strategy: RecoveryStrategy
  /** Ours that mean the same; several where we tell apart what it does not. Empty where none can. */
  readonly codes: readonly ErrorCode[]
  /** Name of a worker that is not available yet and will have codes for it. */
  readonly later?: string
  /** Where we do something else, and why. */
  readonly note?: string
}

/** Every error code of the assessment, in its order. docs/reference/errors.md is generated from here. */
export const ASSESSMENT_CODES = {
  SSH_CONNECTION_FAILED: {
    strategy: 'retry',
    codes: ['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_FAILED', 'MHV_SSH_CONNECTION_LOST'],
    note: 'once a command may have begun (`MHV_SSH_CONNECTION_LOST`) it is never run again, unless the operation is idempotent',
  },
  SSH_AUTH_FAILED: { strategy: 'skip', codes: ['MHV_SSH_AUTH_FAILED', 'MHV_SSH_KEY_INVALID'] },
  SSH_TIMEOUT: {
    strategy: 'retry',
    codes: ['MHV_SSH_CONNECT_TIMEOUT', 'MHV_SSH_COMMAND_TIMEOUT'],
    note: 'only a connection that was not made in time is tried again; a command that was not done in time has acted',
  },
  SSH_COMMAND_FAILED: {
    strategy: 'fallback',
    codes: [],
    note: 'a command that exits with another code than 0 is a result (`exit_code`), no error; it is never run again another way',
  },
  MQTT_BROKER_DISCONNECTED: {
    strategy: 'retry',
    codes: [
      'MHV_MQTT_CONNECT_REFUSED',
      'MHV_MQTT_CONNECT_FAILED',
      'MHV_MQTT_NOT_CONNECTED',
      'MHV_MQTT_CONNECTION_LOST',
    ],
    note: 'once a message may have arrived (`MHV_MQTT_CONNECTION_LOST`) the call is never repeated; one of QoS 1 or 2 is sent again by the outbox',
  },
  MQTT_PUBLISH_FAILED: {
    strategy: 'fallback',
    codes: [],
    note: 'a message of QoS 1 or 2 that cannot be sent waits in the outbox, and goes to the next broker; one that a broker refuses for good is never sent another way',
  },
  MQTT_SUBSCRIPTION_FAILED: { strategy: 'notify', codes: ['MHV_MQTT_SUBSCRIBE_REJECTED'] },
  MQTT_QOS_DELIVERY_FAILED: {
    strategy: 'retry',
    codes: [],
    note: 'the outbox sends until a broker has acknowledged; what was given up (`MHV_MQTT_MESSAGE_GIVEN_UP`) is not repeated by itself',
  },
  CLOUD_RUN_BUILD_FAILED: { strategy: 'retry', codes: [], later: 'cloud_run' },
  CLOUD_RUN_DEPLOYMENT_FAILED: { strategy: 'rollback', codes: [], later: 'cloud_run' },
  CLOUD_RUN_QUOTA_EXCEEDED: { strategy: 'notify', codes: [], later: 'cloud_run' },
  CLOUD_RUN_HEALTH_CHECK_FAILED: { strategy: 'rollback', codes: [], later: 'cloud_run' },
  DATABASE_MIGRATION_FAILED: { strategy: 'notify', codes: [], later: 'database' },
  DATABASE_BACKUP_FAILED: { strategy: 'retry', codes: [], later: 'database' },
  DATABASE_CONNECTION_FAILED: { strategy: 'retry', codes: [], later: 'database' },
  DATABASE_SCHEMA_CORRUPT: { strategy: 'notify', codes: [], later: 'database' },
} as const satisfies Readonly<Record<string, AssessmentCode>>

/** The rows as they are read: name and what becomes of it. */
export const ASSESSMENT_ROWS: readonly (readonly [code: string, row: AssessmentCode])[] =
  Object.entries(ASSESSMENT_CODES)
