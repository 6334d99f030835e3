import { getCompileCacheDir } from 'node:module'
import { setFlagsFromString } from 'node:v8'

/**
 * Loading makes much garbage at once, for which V8 lets the young generation grow to twice 16 MB, and never shrinks it
 * while the process is idle. While it is held it stays at its first 1 MB; under load it may grow as V8 sees fit.
 *
 * The flag is read at every growth, unlike `--max-semi-space-size`, which counts only at the start of a process.
 */
const HELD = '--semi-space-growth-factor=1'
const FREE = '--semi-space-growth-factor=2'

/**
 * From here on the young generation does not grow: something is loaded.
 *
 * Not with a compile cache that was there before (NODE_COMPILE_CACHE): V8 refuses code that was compiled under other
 * flags, so every start would compile anew and overwrite what processes that hold nothing have cached, and they in turn.
 */
export function holdYoungGeneration(): void {
  if (getCompileCacheDir() === undefined) setFlagsFromString(HELD)
}

/** From here on it may grow again: what is loaded is used. */
export function freeYoungGeneration(): void {
  setFlagsFromString(FREE)
}
