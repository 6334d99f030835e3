// @ts-check
/** Where things lie. Plain JavaScript without dependencies: this runs before anything is installed, on Node 20. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The lowest major version of Node that the project's own code runs on. */
export const requiredMajor = 24

/** The checkout this file belongs to. */
export const checkout = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/**
 * Every path the bootstrap reads or writes, for one checkout (tests give a temporary one).
 * @param {string} root
 */
export function pathsOf(root) {
  return {
    root,
    cache: join(root, '.cache'),
    lockfile: join(root, 'package-lock.json'),
    manifest: join(root, 'package.json'),
    modules: join(root, 'node_modules'),
    installed: join(root, 'node_modules', '.package-lock.json'),
    marker: join(root, 'node_modules', '.mahavishnu-bootstrap.json'),
    nodeLink: join(root, 'node_modules', '.bin', 'node'),
    nodePackageBinary: join(root, 'node_modules', 'node', 'bin', 'node'),
    nodeCache: join(root, '.cache', 'node'),
    sshcrypto: join(root, 'node_modules/ssh2/lib/protocol/crypto/build/Release/sshcrypto.node'),
    src: join(root, 'src'),
    dist: join(root, 'dist'),
  }
}

/** @typedef {ReturnType<typeof pathsOf>} Paths */
