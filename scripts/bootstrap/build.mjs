// @ts-check
/** Emits dist from src with tsc, only when something it depends on has changed. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** @typedef {import('./paths.mjs').Paths} Paths */

/** @param {string} folder @returns {string[]} every file below it, sorted; none if there is no such folder */
function filesBelow(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

/** @param {string} file relative to src or dist */
const isTest = (file) => file.endsWith('.test.ts')

/**
 * Changes when a source, the compiler or its settings change. Sizes and times, not contents: it is read on every command.
 * @param {Paths} paths
 */
export function signatureOf(paths) {
  const inputs = [join(paths.root, 'tsconfig.json'), join(paths.root, 'tsconfig.build.json'), paths.lockfile]
  const sources = filesBelow(paths.src).filter((file) => !isTest(file))
  const hash = createHash('sha256')
  for (const file of [...inputs, ...sources]) {
    const { size, mtimeMs } = statSync(file)
    hash.update(`${relative(paths.root, file)} ${size} ${mtimeMs}\n`)
  }
  return hash.digest('hex')
}

/** @param {Paths} paths */
const stampOf = (paths) => join(paths.dist, '.stamp')

/** @param {Paths} paths */
export function isBuilt(paths) {
  const stamp = stampOf(paths)
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === signatureOf(paths)
}

/** Migrations and templates: what src holds beside code. @param {Paths} paths */
function copyAssets(paths) {
  for (const file of filesBelow(paths.src).filter((name) => !name.endsWith('.ts'))) {
    const target = join(paths.dist, relative(paths.src, file))
    mkdirSync(dirname(target), { recursive: true })
    cpSync(file, target)
  }
}

/** A file whose source is gone would still be imported and packed. @param {Paths} paths */
function removeOrphans(paths) {
  const sources = new Set(filesBelow(paths.src).map((file) => relative(paths.src, file)))
  for (const file of filesBelow(paths.dist)) {
    const name = relative(paths.dist, file)
    if (name.startsWith('.')) continue
    const source = name.replace(/(\.d)?\.ts$|\.js$/, '.ts')
    if (!sources.has(name) && !sources.has(source)) rmSync(file)
  }
}

/**
 * Builds dist; call it under the lock.
 * @param {Paths} paths
 * @param {string} node the binary to run tsc with
 * @param {(message: string) => void} say
 * @returns {boolean} whether it succeeded; tsc's messages are on stderr
 */
export function build(paths, node, say) {
  say('building dist from src')
  const signature = signatureOf(paths)
  rmSync(stampOf(paths), { force: true })
  const tsc = join(paths.modules, 'typescript/bin/tsc')
  const { status } = spawnSync(node, [tsc, '-p', 'tsconfig.build.json'], { cwd: paths.root, stdio: ['ignore', 2, 2] })
  if (status !== 0) return false
  copyAssets(paths)
  removeOrphans(paths)
  mkdirSync(paths.dist, { recursive: true })
  writeFileSync(stampOf(paths), signature)
  return true
}
