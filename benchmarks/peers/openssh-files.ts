/**
 * The peers of `ssh.sftp_transfer`: scp, sftp and rsync over a connection that is kept open (ControlMaster), as ours is, so
 * that no handshake is measured.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pause } from '../harness/process.ts'
import { type BenchSshd, CIPHER } from '../harness/sshd.ts'

export interface OpensshFiles {
  /** Seconds of `scp`; with `hash`, of `sha256sum` here and there as well, one after the other. */
  scp(from: string, to: string, direction: 'upload' | 'download', hash: boolean): Promise<number>
  /** Seconds of `sftp` with `put -f` or `get -f`, which syncs what has arrived; scp cannot. */
  sftp(from: string, to: string, direction: 'upload' | 'download'): Promise<number>
  /** Seconds of `rsync -rp`, from folder to folder. */
  rsync(from: string, to: string, direction: 'upload' | 'download', fsync: boolean): Promise<number>
  readonly versions: { readonly scp: string; readonly rsync: string }
  close(): Promise<void>
}

const START_MS = 10_000

/** What the programs are, and what is missing. */
export function peersMissing(): string | undefined {
  for (const program of ['scp', 'sftp', 'rsync', 'sha256sum']) {
    if (spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined)
      return `${program} is not there: scripts/setup-servers installs it on Debian`
  }
  return undefined
}

function firstLine(program: string, args: readonly string[]): string {
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  return `${stdout}${stderr}`.split('\n')[0]?.trim() ?? 'unknown'
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 2] })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`${program} ended with ${code}`)
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}

/** @param folder for the socket of the master; its path has to be short (108 bytes with the name) */
export async function startOpensshFiles(sshd: BenchSshd, folder: string): Promise<OpensshFiles> {
  const { host, port, user, identityFile, knownHostsFile } = sshd
  const socket = join(folder, 'm')
  const kept = ['-o', 'BatchMode=yes', '-o', `UserKnownHostsFile=${knownHostsFile}`, '-o', `ControlPath=${socket}`]
  const options = ['-F', 'none', '-i', identityFile, '-c', CIPHER, ...kept]
  const destination = `${user}@${host}`
  const master: ChildProcess = spawn(
    'ssh',
    [...options, '-N', '-o', 'ControlMaster=yes', '-p', String(port), '--', destination],
    { stdio: ['ignore', 'ignore', 2] },
  )
  const end = () => master.kill()
  process.on('exit', end)
  for (const until = performance.now() + START_MS; !existsSync(socket); await pause(10)) {
    if (master.exitCode !== null || performance.now() > until) throw new Error('no ControlMaster came up')
  }
  const ends = (from: string, to: string, direction: 'upload' | 'download') =>
    direction === 'upload' ? [from, `${destination}:${to}`] : [`${destination}:${from}`, to]
  const remoteHash = (path: string) =>
    run('ssh', [...options, '-p', String(port), '--', destination, `sha256sum ${path}`])

  return {
    versions: { scp: firstLine('ssh', ['-V']), rsync: firstLine('rsync', ['--version']) },
    scp: (from, to, direction, hash) =>
      timed(async () => {
        await run('scp', ['-q', ...options, '-P', String(port), ...ends(from, to, direction)])
        if (!hash) return
        const [here, there] = direction === 'upload' ? [from, to] : [to, from]
        await run('sha256sum', [here])
        await remoteHash(there)
      }),
    sftp: (from, to, direction) => {
      const batch = join(folder, 'batch')
      writeFileSync(batch, `${direction === 'upload' ? 'put' : 'get'} -f ${from} ${to}\n`)
      return timed(() => run('sftp', ['-q', '-b', batch, ...options, '-P', String(port), destination]))
    },
    rsync: (from, to, direction, fsync) =>
      timed(() => {
        const shell = ['ssh', ...options, '-p', String(port)].join(' ')
        const how = fsync ? ['--fsync'] : []
        return run('rsync', ['-rp', ...how, '-e', shell, ...ends(`${from}/`, `${to}/`, direction)])
      }),
    async close() {
      const ended = new Promise((resolve) => master.once('exit', resolve))
      end()
      await ended
      process.off('exit', end)
    },
  }
}
