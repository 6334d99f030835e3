import type { RemoteExec, RemoteFs, RemotePty } from '../../../core/ports.ts'
import type { SshPool } from '../pool.ts'

/** The ports of this worker. What is behind them is loaded by the first call. */
export const sshPorts = {
  RemoteExec: (pool: SshPool): RemoteExec => ({
    async exec(request, signal) {
      const { createRemoteExec } = await import('./remote-exec.ts')
      return createRemoteExec(pool).exec(request, signal)
    },
  }),
  RemoteFs(pool: SshPool): RemoteFs {
    const loaded = async () => (await import('./remote-fs.ts')).createRemoteFs(pool)
    return {
      stat: async (...call) => (await loaded()).stat(...call),
      list: async (...call) => (await loaded()).list(...call),
      read: async (...call) => (await loaded()).read(...call),
      write: async (...call) => (await loaded()).write(...call),
      rename: async (...call) => (await loaded()).rename(...call),
      remove: async (...call) => (await loaded()).remove(...call),
    }
  },
  RemotePty: (pool: SshPool): RemotePty => ({
    async open(request, events, signal) {
      const { createRemotePty } = await import('./remote-pty.ts')
      return createRemotePty(pool).open(request, events, signal)
    },
  }),
}
