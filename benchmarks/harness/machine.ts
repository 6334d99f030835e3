import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join, sep } from 'node:path'
import { type NativeCrypto, nativeCrypto } from '../../src/workers/ssh/ssh2-library.ts'

/** What the numbers depend on, beside the programs that were measured. */
export interface Machine {
  readonly node: string
  readonly platform: string
  readonly cpu: string
  readonly cores: number
  readonly memory_gib: number
  readonly openssl: string
  readonly sqlite: string
  /** Client and server as they name themselves; null where there is none. */
  readonly openssh: { readonly client: string | null; readonly server: string | null }
  /** Whether ssh2 uses its native ciphers, on both sides; without them it takes about twice the processor time. */
  readonly native: boolean
  /** Why it does not: `missing` (not built), or `unsafe` (built in a way that crashes this Node, and kept out). */
  readonly native_crypto: NativeCrypto
  /** The file system of the folder for temporary files, where all journals lie. A tmpfs syncs nothing. */
  readonly tmp_fs: string
  /** Load average over one minute at the beginning: what else went on. */
  readonly load_before: number
}

/** What a program says of itself, on whichever stream; null where it cannot be started. */
function firstLine(program: string, args: readonly string[]): string | null {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (error) return null
  return /OpenSSH_[^\s,]+[^\n,]*/.exec(`${stdout}\n${stderr}`)?.[0] ?? null
}

/** Type of the file system that a folder lies on, by the longest mount point above it; `unknown` where /proc is none. */
export function fileSystemOf(folder: string, mounts = mountTable()): string {
  const within = mounts
    .map((line) => line.split(' '))
    .filter(([, point = '']) => point === sep || folder === point || folder.startsWith(`${point}${sep}`))
    .sort((a, b) => (a[1]?.length ?? 0) - (b[1]?.length ?? 0))
  return within.at(-1)?.[2] ?? 'unknown'
}

function mountTable(): readonly string[] {
  try {
    return readFileSync('/proc/mounts', 'utf8').trimEnd().split('\n')
  } catch {
    return []
  }
}

/** Version of an installed package. Its manifest is read as a file: not every package exports it. */
export function packageVersion(name: string): string {
  const manifest = join(import.meta.dirname, '../../node_modules', name, 'package.json')
  return String(JSON.parse(readFileSync(manifest, 'utf8')).version)
}

export function machineFacts(): Machine {
  return {
    node: process.version,
    platform: `${process.platform} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory_gib: Math.round(totalmem() / 2 ** 30),
    openssl: process.versions.openssl ?? 'unknown',
    sqlite: process.versions.sqlite ?? 'unknown',
    openssh: { client: firstLine('ssh', ['-V']), server: firstLine('/usr/sbin/sshd', ['-V']) },
    native: nativeCrypto === 'used',
    native_crypto: nativeCrypto,
    tmp_fs: fileSystemOf(tmpdir()),
    load_before: loadNow(),
  }
}

export function loadNow(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100
}
