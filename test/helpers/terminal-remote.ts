import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import type { TerminalSettings } from '../../src/workers/terminal/settings.ts'
import { lent } from '../fixtures/isolation/port-workers.ts'
import { isolationInstance } from './isolation-instance.ts'
import { startSshd } from './sshd.ts'
import { terminalFolder } from './terminal-sessions.ts'

/** Sessions of this machine and, through the port of the SSH worker, of a host. */
export interface RemoteSessions {
  readonly sessions: PtySessions
  /** Starts a script in `sh` of the host. */
  startRemote(script: string): Promise<PtySession>
  close(): Promise<void>
}

/** @param withHost false: there is no SSH server; then there are local sessions only */
export async function remoteSessions(
  withHost: boolean,
  settings: Partial<TerminalSettings> = {},
  isolation = 'process',
): Promise<RemoteSessions> {
  if (!withHost) {
    const folder = await terminalFolder()
    const startRemote = () => Promise.reject(new Error('there is no SSH server'))
    return { sessions: await folder.sessions(settings), startRemote, close: () => folder.end() }
  }
  const sshd = await startSshd()
  const block = { host: sshd.host, port: sshd.port, user: sshd.user, identity_files: [sshd.userKey] }
  const module = new URL('../fixtures/isolation/port-workers.ts', import.meta.url)
  const ssh = { isolation, known_hosts: [], config_files: [], kill_grace: 0.5 }
  const instance = await isolationInstance({ ssh }, { module, blocks: { ssh: block } })
  await writeFile(join(instance.folder, 'known_hosts'), sshd.knownHosts, { mode: 0o600 })
  await instance.call('borrower.borrow', { port: 'RemotePty' })
  const folder = await terminalFolder(lent)
  const sessions = await folder.sessions(settings)
  const signal = new AbortController().signal
  const common = { owner: 'user:test', run_id: 'run', target: 'one', term: 'xterm-256color', rows: 24, cols: 80 }
  return {
    sessions,
    startRemote: (script) =>
      sessions.startRemote({ ...common, command: `sh -c '${script.replaceAll("'", "'\\''")}'` }, signal),
    async close() {
      await folder.end()
      await instance[Symbol.asyncDispose]()
      await sshd.stop()
    },
  }
}
