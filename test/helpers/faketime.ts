import { existsSync, rmSync } from 'node:fs'

/** Where Debian's package `libfaketime` has the library for programs with threads. */
const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map(
  (machine) => `/usr/lib/${machine}/faketime/libfaketimeMT.so.1`,
)
const library = LIBRARIES.find((path) => existsSync(path))

/** Why no process can be given a clock of its own here; false where it can. To be given to `skip`. */
export const noFaketime: string | false =
  library === undefined ? `there is no libfaketime here (${LIBRARIES[0]})` : false

/** Environment of a process whose wall clock is off by what stands in the file (`+3600`, in seconds). */
export function faketimeEnv(file: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: library ?? '',
    FAKETIME_TIMESTAMP_FILE: file,
    // Seconds after which the file is read again.
    FAKETIME_CACHE_DURATION: '1',
    // What a change of a machine's clock leaves alone: the monotonic one.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  }
}

/** What the library leaves behind of a process that was killed. */
export function removeFaketimeRest(pid: number): void {
  for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) rmSync(`/dev/shm/${name}`, { force: true })
}
