import { defineWorker } from '../../core/worker.ts'
import { execute } from './execute.ts'
import { sftpList } from './files/sftp-list.ts'
import { sftpMkdir } from './files/sftp-mkdir.ts'
import { sftpRemove } from './files/sftp-remove.ts'
import { sftpStat } from './files/sftp-stat.ts'
import { drainPool } from './pool/drain-operation.ts'
import { poolStatus } from './pool/pool-status.ts'
import type { SshPool } from './pool.ts'
import { sshPorts } from './ports/provided.ts'
import { linkJumps } from './route/link-target.ts'
import { script } from './script/script.ts'
import { type SshSettings, type SshTarget, sshSettings, sshTarget } from './settings.ts'
import { sftpTransfer } from './transfer/transfer.ts'
import { trustHost } from './trust/trust-host.ts'

export const ssh = defineWorker<typeof sshSettings, typeof sshTarget, SshPool>({
  name: 'ssh',
  title: 'Remote commands over SSH',
  description:
    'Runs commands on hosts over SSH. It needs an account with a key, an agent or a password, and the host key in a ' +
    'known_hosts file. Connections are kept and shared between commands.',
  environment: ['SSH_AUTH_SOCK'],
  settings: sshSettings,
  target: sshTarget,
  linkTarget: linkJumps,
  // The window is as long as five attempts that each wait for a connection in vain, and more.
  breaker: { failure_threshold: 5, window_seconds: 300, recovery_timeout: 300, half_open_max_calls: 3 },

  async connect(context) {
    const { createSshPool } = await import('./pool.ts')
    return createSshPool(context)
  },
  async ping(pool, target, signal) {
    const { pingTarget } = await import('./ping.ts')
    return pingTarget(pool, target, signal)
  },

  provides: sshPorts,

  slos: [
    {
      name: 'ssh_command_success',
      description:
        'Commands that ended with a result, whatever its exit code, among all that were sent or should have been',
      kind: 'ratio',
      target: 0.995,
      window_days: 30,
    },
    {
      name: 'ssh_connect_latency',
      description: 'Time until a new connection is authenticated',
      kind: 'latency',
      target: 5,
      percentile: 95,
      window_days: 7,
    },
    {
      name: 'ssh_pool_availability',
      description: 'Calls that got a channel before their deadline',
      kind: 'ratio',
      target: 0.999,
      window_days: 30,
    },
  ],

  recovery: {
    codes: {
      MHV_SSH_CONNECT_REFUSED: { strategy: 'retry', max_attempts: 3 },
      MHV_SSH_CONNECT_TIMEOUT: { strategy: 'retry', max_attempts: 3 },
      MHV_SSH_CONNECT_FAILED: { strategy: 'retry', max_attempts: 3 },
      MHV_SSH_CHANNEL_REFUSED: { strategy: 'retry', max_attempts: 3 },
      MHV_SSH_POOL_EXHAUSTED: { strategy: 'retry', max_attempts: 3 },
      MHV_SSH_AUTH_FAILED: { strategy: 'skip', max_attempts: 1, notify: true },
      MHV_SSH_CONNECTION_LOST: { strategy: 'notify', max_attempts: 1 },
    },
    categories: { permission: { strategy: 'skip', max_attempts: 1 } },
  },

  operations: [
    execute,
    script,
    sftpTransfer,
    sftpList,
    sftpStat,
    sftpMkdir,
    sftpRemove,
    trustHost,
    poolStatus,
    drainPool,
  ],
})

export type { SshSettings, SshTarget }
