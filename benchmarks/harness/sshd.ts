import { existsSync, rmSync } from 'node:fs'
import { sshdMissing, startSshd } from '../../test/helpers/sshd.ts'

/** The one cipher that everybody uses here; the fastest of those that OpenSSH and ssh2 both have. */
export const CIPHER = 'aes128-gcm@openssh.com'

/** Further addresses of the server, so that it can be several hosts; its key stands in known_hosts for `host` only. */
export const ADDRESSES = Array.from({ length: 10 }, (_, number) => `127.0.0.${number + 2}`)

/** The tests' server, allowing as many sessions as anybody wants. */
const CONFIG = [
  'MaxSessions 1000',
  'MaxStartups 1000',
  // Or it writes a line for every command.
  'LogLevel INFO',
  'UseDNS no',
  `Ciphers ${CIPHER}`,
  // Or bash reads the user's start-up files for every command, and they are what is measured.
  'SetEnv SHLVL=3',
  ...ADDRESSES.map((address) => `ListenAddress ${address}`),
]

/** A server on loopback, for all sides alike. */
export interface BenchSshd {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly identityFile: string
  readonly knownHostsFile: string
  /** What the rows say of it. */
  readonly settings: Readonly<Record<string, unknown>>
  close(): Promise<void>
}

export function serverMissing(): string | undefined {
  if (existsSync('/usr/sbin/sshd')) return sshdMissing()
  return '/usr/sbin/sshd is not there: install openssh-server (scripts/setup-servers does on Debian)'
}

export async function startServer(): Promise<BenchSshd> {
  const { host, port, pid, folder, user, userKey, knownHostsFile, stop } = await startSshd({ config: CONFIG })
  const abandon = () => {
    process.kill(pid)
    rmSync(folder, { recursive: true, force: true })
  }
  process.on('exit', abandon)
  return {
    host,
    port,
    user,
    identityFile: userKey,
    knownHostsFile,
    settings: { cipher: CIPHER, sshd: 'loopback, MaxSessions 1000, MaxStartups 1000, SetEnv SHLVL=3' },
    async close() {
      process.off('exit', abandon)
      await stop()
    },
  }
}
