import type { Problem } from './problems.ts'

/**
 * What becomes of a key of the design documents' YAML blocks. A key that the settings have is `accepted` by being
 * there; this table is asked only about keys that they do not have.
 */
export type SeedKey =
  | { readonly is: 'accepted' }
  /** `to` is a setting, or the place in the inventory where it is written now. */
  | { readonly is: 'renamed'; readonly to: string }
  | { readonly is: 'not-available'; readonly note?: string }

const ACCEPTED = [
  'ssh.max_connections',
  'ssh.max_connections_per_host',
  'ssh.connection_ttl',
  'ssh.pool_backpressure',
  'ssh.connection_health_check',
  'ssh.circuit_breaker.failure_threshold',
  'ssh.circuit_breaker.recovery_timeout',
  'ssh.circuit_breaker.half_open_max_calls',
]

const RENAMED: Readonly<Record<string, string>> = {
  'ssh.default_host': 'targets.NAME.ssh.host',
  'ssh.default_username': 'targets.NAME.ssh.user',
  'ssh.private_key': 'targets.NAME.ssh.identity_files',
  'ssh.connection_pool_size': 'ssh.max_connections_per_host',
  'ssh.admission_control.max_concurrent_executions': 'ssh.admission.max_concurrent',
  'ssh.admission_control.queue_size': 'ssh.admission.queue_size',
}

const NOTES: Readonly<Record<string, string>> = {
  'ssh.admission_control.reject_when_full': 'see ssh.admission.full: reject_new, wait or shed_low',
  'ssh.admission_control.priority_classes': 'the classes are critical, normal and low',
}

/** By section; a section's own name stands for whatever else is in it. */
const NOT_AVAILABLE: Readonly<Record<string, readonly string[]>> = {
  ssh: [
    'admission_control.reject_when_full',
    'admission_control.priority_classes',
    'resources',
    'resources.memory_limit',
    'resources.memory_request',
    'resources.cpu_limit',
    'resources.cpu_request',
    'resources.network_max_bandwidth',
  ],
  mqtt: [
    '',
    'default_broker',
    'default_port',
    'tls_enabled',
    'qos',
    'subscriptions',
    'brokers',
    'brokers.primary',
    'brokers.secondary',
    'broker_switch_threshold',
    'circuit_breaker.failure_threshold',
    'circuit_breaker.recovery_timeout',
    'circuit_breaker.half_open_max_calls',
    'offline_buffer',
    'offline_buffer.enabled',
    'offline_buffer.max_size',
    'offline_buffer.persist_to_disk',
    'offline_buffer.disk_path',
    'subscription_health_check',
    'resubscribe_on_reconnect',
    'resources',
    'resources.memory_limit',
    'resources.memory_request',
    'resources.cpu_limit',
    'resources.cpu_request',
    'throttling',
    'throttling.max_publish_rate',
    'throttling.max_subscription_count',
    'throttling.max_message_size',
    'throttling.buffer_size',
    'throttling.drop_oldest_when_full',
  ],
  cloud_run: [
    '',
    'default_project_id',
    'default_region',
    'default_memory',
    'deployment',
    'deployment.max_concurrent',
    'deployment.queue_size',
    'deployment.timeout',
    'deployment.auto_rollback_on_failure',
    'deployment.rollback_health_check_threshold',
    'verification',
    'verification.enabled',
    'verification.health_check_path',
    'verification.health_check_timeout',
    'verification.health_check_interval',
    'verification.min_success_count',
    'gcloud_api',
    'gcloud_api.rate_limit',
    'gcloud_api.burst',
    'gcloud_api.retry_on_quota',
  ],
  database: [
    '',
    'migration',
    'migration.dry_run_by_default',
    'migration.require_confirmation',
    'migration.auto_rollback_on_failure',
    'migration.verify_after_migration',
    'migration.lock_timeout',
    'backup',
    'backup.auto_backup_before_migration',
    'backup.backup_retention_days',
    'backup.backup_verification',
    'verification',
    'verification.enabled',
    'verification.checks',
  ],
  terminal: [''],
  backup: [''],
  orbstack: ['', 'enabled', 'machine_memory'],
  slos: [
    '',
    'ssh_command_success_rate',
    'ssh_connection_latency',
    'ssh_connection_pool_availability',
    'mqtt_publish_success_rate',
    'mqtt_broker_connection_uptime',
    'mqtt_message_delivery_latency',
    'cloud_run_deployment_success_rate',
    'cloud_run_deployment_latency',
    'cloud_run_service_availability',
    'database_migration_success_rate',
    'database_backup_success_rate',
    'database_backup_restore_test',
  ],
  disaster_recovery: ['', 'ssh_worker', 'mqtt_worker', 'cloud_run_worker', 'database_worker'],
}

/** Workers that the design documents name and that do not exist yet. */
export const LATER_WORKERS: readonly string[] = ['mqtt', 'terminal', 'cloud_run', 'database', 'backup']

function rows(): [string, SeedKey][] {
  const notAvailable = Object.entries(NOT_AVAILABLE).flatMap(([section, keys]) =>
    keys.map((key) => (key === '' ? section : `${section}.${key}`)),
  )
  return [
    ...ACCEPTED.map((key): [string, SeedKey] => [key, { is: 'accepted' }]),
    ...Object.entries(RENAMED).map(([key, to]): [string, SeedKey] => [key, { is: 'renamed', to }]),
    ...notAvailable.map((key): [string, SeedKey] => [key, { is: 'not-available', note: NOTES[key] }]),
  ]
}

/** Every key of the design documents' YAML blocks, dotted. */
export const SEED_KEYS: ReadonlyMap<string, SeedKey> = new Map(rows())

/** What the table says of a key: its own row, or that of the nearest section around it. */
export function seedKey(path: readonly string[]): SeedKey | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const row = SEED_KEYS.get(path.slice(0, length).join('.'))
    if (row && (length === path.length || row.is === 'not-available')) return row
  }
  return undefined
}

/** Whether the table has keys inside this one, but no row for itself. */
export function isSeedSection(path: readonly string[]): boolean {
  const key = path.join('.')
  return !SEED_KEYS.has(key) && [...SEED_KEYS.keys()].some((row) => row.startsWith(`${key}.`))
}

/** The problem of a key that the settings do not have and the table knows; undefined where it does not. */
export function seedProblem(path: readonly string[]): Pick<Problem, 'code' | 'message' | 'remedy'> | undefined {
  const row = seedKey(path)
  const key = path.join('.')
  if (row?.is === 'renamed') {
    const where = row.to.startsWith('targets.') ? `${row.to}, in the inventory` : row.to
    return {
      code: 'MHV_CONFIG_RENAMED',
      message: `"${key}" is called ${where}`,
      remedy: `Write it as ${where}.`,
    }
  }
  if (row?.is !== 'not-available') return undefined
  const note = row.note === undefined ? '' : `: ${row.note}`
  return { code: 'MHV_CONFIG_NOT_AVAILABLE', message: `"${key}" is known, but not available yet${note}` }
}
