import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type * as Ssh2 from 'ssh2'

/**
 * The one place that loads ssh2, because its native cryptography has to be looked at first: built with the headers of
 * Node 24.19 or later, it ends the whole process as soon as one of its ciphers is collected
 * (https://github.com/mscdex/ssh2/issues/1511, https://github.com/nodejs/node/issues/65446). Then ssh2 is made to do
 * without it, which costs about twice the CPU and is safe.
 */

const require = createRequire(import.meta.url)
const ADDON = 'ssh2/lib/protocol/crypto/build/Release/sshcrypto.node'
/** In an addon's table of symbols, this says that it was built with the headers in question. */
const SYMBOL = 'RemoveEnvironmentCleanupHook'

export type NativeCrypto =
  /** Loaded and safe. */
  | 'used'
  /** Not built; ssh2 does without. */
  | 'missing'
  /** Built in a way that ends the process; kept out. */
  | 'unsafe'

/** The addon's path, or undefined when it was not built. */
function addonPath(): string | undefined {
  try {
    return require.resolve(ADDON)
  } catch {
    return undefined
  }
}

/** Whether an addon with that symbol runs on this Node: the 24 line lacks the other half of it, 26.4 has it. */
export function isSafe(addon: Buffer, nodeVersion: string): boolean {
  if (!addon.includes(SYMBOL)) return true
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number)
  return major > 26 || (major === 26 && minor >= 4)
}

function load(): { readonly ssh2: typeof Ssh2; readonly native: NativeCrypto } {
  const path = addonPath()
  if (path === undefined) return { ssh2: require('ssh2'), native: 'missing' }
  if (isSafe(readFileSync(path), process.versions.node)) {
    const ssh2 = require('ssh2')
    return { ssh2, native: require('ssh2/lib/protocol/crypto.js').bindingAvailable ? 'used' : 'missing' }
  }
  // ssh2 asks for the addon once, inside a try: what it finds in its place throws.
  const refused = Object.defineProperty({ loaded: true }, 'exports', {
    get() {
      throw new Error('not used')
    },
  })
  require.cache[path] = refused as unknown as NodeJS.Module
  try {
    return { ssh2: require('ssh2'), native: 'unsafe' }
  } finally {
    delete require.cache[path]
  }
}

const loaded = load()

export const ssh2 = loaded.ssh2
export const nativeCrypto = loaded.native
