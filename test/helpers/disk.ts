import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rmdir, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const noSmallDisk: string | false =
  process.platform === 'linux' && process.getuid?.() === 0 ? false : 'needs root on Linux, to mount a tmpfs'

/** A disk of its own of `megabytes`, gone again when it is disposed of. */
export async function smallDisk(megabytes: number): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder])
  } catch (error) {
    await rmdir(folder)
    throw error
  }
  return {
    folder,
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [folder])
      assert.ok(!(await readFile('/proc/mounts', 'utf8')).includes(folder), `${folder} is still mounted`)
      await rmdir(folder)
    },
  }
}

/** The file that fills the disk. */
export function fillerOf(folder: string): string {
  return join(folder, 'filler')
}

/** Fills the disk but for so many bytes; returns the file to remove. */
export async function fillDisk(folder: string, leave: number): Promise<string> {
  const { bavail, bsize } = await statfs(folder)
  const file = fillerOf(folder)
  await writeFile(file, new Uint8Array(Math.max(0, bavail * bsize - leave)))
  return file
}
