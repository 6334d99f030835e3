import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { noSmallDisk, smallDisk } from '../../helpers/disk.ts'
import { faketimeEnv, noFaketime } from '../../helpers/faketime.ts'
import { type Sshd, sshdMissing, startSshd } from '../../helpers/sshd.ts'
import { startTcpProxy, type TcpProxy } from '../../helpers/tcp-proxy.ts'
import { type FarSide, startFarSide } from './far-side.ts'

/** Calls that one process may have under way on the far side. */
export const FAR_LIMIT = 6

/** Everything around the instance: its folder, the far side and the ways there. */
export interface Surroundings extends AsyncDisposable {
  /** The instance's folder; on a small disk of its own where there can be one. */
  readonly folder: string
  readonly ownDisk: boolean
  readonly far: FarSide
  readonly links: readonly TcpProxy[]
  readonly clockFile: string | null
  /** Environment of the instance. */
  readonly env: Readonly<Record<string, string>>
  readonly sshCommand: ((token: string) => string) | null
  sshEffects(): Promise<readonly { readonly token: string; readonly run_id: string }[]>
  /** What this machine has no means for. */
  readonly missing: { readonly disk: string | null; readonly clock: string | null; readonly ssh: string | null }
  /** Takes the folders away now, without waiting for anything: for a process that is about to end. */
  abandon(): void
}

export async function makeSurroundings(): Promise<Surroundings> {
  await using undo = new AsyncDisposableStack()
  const scratch = await mkdtemp(join(tmpdir(), 'mhv-storm-'))
  undo.defer(() => rm(scratch, { recursive: true, force: true }))
  const far = await startFarSide()
  undo.defer(far.close)
  const farLink = undo.adopt(await startTcpProxy({ port: far.port }), (link) => link.close())
  const noSsh = sshdMissing() ?? null
  const sshd = noSsh === null ? undo.adopt(await startSshd(), (server) => server.stop()) : null
  const sshLink = sshd === null ? null : undo.adopt(await startTcpProxy(sshd), (link) => link.close())
  const disk = noSmallDisk === false ? undo.use(await smallDisk(8)) : null
  const folder = disk?.folder ?? (await mkdir(join(scratch, 'instance'), { recursive: true })) ?? ''
  await writeSettings(folder, farLink.port, sshd, sshLink)
  const clockFile = noFaketime === false ? join(scratch, 'clock') : null
  if (clockFile !== null) await writeFile(clockFile, '+0\n')
  const ledger = join(scratch, 'ledger')
  await writeFile(ledger, '')
  const owned = undo.move()
  return {
    folder,
    ownDisk: disk !== null,
    far,
    links: sshLink === null ? [farLink] : [farLink, sshLink],
    clockFile,
    env: clockFile === null ? {} : faketimeEnv(clockFile),
    sshCommand: sshd === null ? null : (token) => `echo ${token} $MAHAVISHNU_RUN_ID >> ${ledger}`,
    async sshEffects() {
      const lines = (await readFile(ledger, 'utf8')).split('\n').filter((line) => line !== '')
      return lines.map((line) => {
        const [token = '', run_id = ''] = line.split(' ')
        return { token, run_id }
      })
    },
    missing: { disk: noSmallDisk || null, clock: noFaketime || null, ssh: noSsh },
    abandon() {
      // Lazily: processes that were killed a moment ago may still be in it.
      if (disk !== null) execFileSync('umount', ['--lazy', folder], { stdio: 'ignore' })
      rmSync(folder, { recursive: true, force: true })
      rmSync(scratch, { recursive: true, force: true })
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function writeSettings(folder: string, farPort: number, sshd: Sshd | null, sshLink: TcpProxy | null) {
  const settings = join(folder, 'settings')
  await mkdir(settings, { recursive: true, mode: 0o700 })
  const file = (name: string, value: unknown) =>
    writeFile(join(settings, name), stringify({ version: 1, ...Object(value) }))
  // Everything a little faster than its defaults, so that much happens in a short time.
  const breaker = { failure_threshold: 10, window_seconds: 5, recovery_timeout: 0.5, success_threshold: 1 }
  const common = {
    circuit_breaker: breaker,
    retry: { base_ms: 20, cap_ms: 300 },
    dead_letters: { policy: 'linear', delay_seconds: 1, max_delay_seconds: 3, max_replays: 4 },
  }
  await file('mahavishnu.yaml', {
    log: { level: 'warn' },
    admission: { max_concurrent: 10, queue_size: 40, max_queue_seconds: 10, full: 'shed_low' },
    runs: { heal_seconds: 1, abort_grace_seconds: 2, drain_timeout: 10 },
    journal: { min_free_bytes: 300_000 },
    http: { port: 0, rate_limit_per_second: 100_000, rate_limit_burst: 100_000 },
    far: { ...common, admission: { max_concurrent: FAR_LIMIT, queue_size: 40 } },
    ssh: { ...common, known_hosts: [], connect_timeout: 3, keepalive_interval: 1, max_connections_per_host: 3 },
  })
  const host = sshd && {
    tier: 'dev',
    ssh: { host: sshd.host, port: sshLink?.port, user: sshd.user, identity_files: [sshd.userKey] },
  }
  await file('inventory.yaml', {
    targets: { far: { tier: 'dev', far: { port: farPort } }, ...(host === null ? {} : { host }) },
  })
  await file('policy.yaml', { name: 'all', rules: [{ id: 'all', decision: 'allow' }] })
  if (sshd !== null) {
    const knownHosts = sshd.knownHosts.replaceAll(`:${sshd.port} `, `:${sshLink?.port} `)
    await writeFile(join(folder, 'known_hosts'), knownHosts, { mode: 0o600 })
  }
}
