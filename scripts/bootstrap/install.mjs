// @ts-check
/** Installs the pinned npm dependencies, a Node that is new enough, and ssh2's native addons. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, delimiter, dirname, join, relative, sep } from 'node:path'
import { requiredMajor } from './paths.mjs'

/** @typedef {import('./paths.mjs').Paths} Paths */
/** @typedef {(message: string) => void} Say */
/**
 * What the last bootstrap left, kept in node_modules so that it disappears with it.
 * @typedef {{ format: 1, lock: string, node: string, version: string, native: boolean }} Marker
 */

/** Errors only, but those even under `npm --silent`, which passes its silence on to the npm started here. */
const quiet = ['--no-audit', '--no-fund', '--loglevel=error']

/** @param {string} file */
function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** @param {Paths} paths */
export function hashOfLock(paths) {
  return createHash('sha256').update(readFileSync(paths.lockfile)).digest('hex')
}

/** @param {string} version such as "24.21.0" or "v24.21.0" */
function majorOf(version) {
  return Number(version.replace(/^v/, '').split('.')[0])
}

/**
 * The last bootstrap's marker if nothing it describes has changed since; undefined calls for a bootstrap.
 * @param {Paths} paths
 * @returns {Marker | undefined}
 */
export function currentMarker(paths) {
  const marker = readJson(paths.marker)
  if (marker?.format !== 1 || marker.lock !== hashOfLock(paths)) return undefined
  if (!existsSync(marker.node) || majorOf(marker.version) < requiredMajor) return undefined
  // Another npm command may have cleared the link or the addon away without touching the lock file.
  if (!existsSync(paths.nodeLink)) return undefined
  if (marker.native && !existsSync(paths.sshcrypto)) return undefined
  return marker
}

/**
 * Whether node_modules already holds what package-lock.json asks for, by npm's own record of what it installed.
 * A developer's `npm install` changes the lock file and node_modules together: nothing is left to do then,
 * and `npm ci` would pull the folder away under every running process.
 * @param {Paths} paths
 */
export function isInstalled(paths) {
  const wanted = readJson(paths.lockfile)?.packages
  const found = readJson(paths.installed)?.packages
  if (!wanted || !found) return false
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const there = found[path]
    // Optional packages for other platforms are in the lock file only.
    if (!there) return entry.optional === true || entry.devOptional === true
    return there.version === entry.version && existsSync(join(paths.root, path, 'package.json'))
  })
}

/**
 * Runs npm with everything it prints on stderr (or in a file): stdout belongs to the command's own data.
 * @param {Paths} paths
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @param {number} [output] a file descriptor
 */
function npm(paths, args, env = process.env, output = 2) {
  // Under `npm run` this is the npm that runs us; a plain `node scripts/bootstrap.mjs` looks on the PATH.
  const own = env.npm_execpath
  const direct = own !== undefined && basename(own) === 'npm-cli.js' && existsSync(own)
  const [program, first] = direct ? ['node', [own]] : ['npm', []]
  const { status, error } = spawnSync(program, [...first, ...args], {
    cwd: paths.root,
    env,
    stdio: ['ignore', output, output],
  })
  if (error) throw new Error(`npm could not be started: ${error.message}`)
  return status ?? 1
}

/** @param {Paths} paths @param {Say} say */
function installDependencies(paths, say) {
  if (isInstalled(paths)) return
  say('installing the pinned npm packages into node_modules (npm ci, no install scripts; about a minute)')
  // Named explicitly, since NODE_ENV=production or omit=dev in somebody's settings would leave the tools out, and
  // engine-strict would refuse packages for the Node that is about to be installed.
  const flags = ['--include=dev', '--include=optional', '--ignore-scripts', '--engine-strict=false', ...quiet]
  if (npm(paths, ['ci', ...flags]) === 0) return
  // `npm ci` also insists on reading about packages for other platforms, which not every package source has.
  say('npm ci failed, its output is above; trying npm install with the same pinned versions')
  if (npm(paths, ['install', '--no-save', ...flags]) !== 0) throw new Error('npm install failed; its output is above')
}

/**
 * Installs Node's own npm package for this platform (binary and headers) and returns its folder.
 * @param {Paths} paths
 * @param {string} version
 * @param {Say} say
 */
function installNodePackage(paths, version, say) {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(paths.nodeCache, 'node_modules', name)
  if (readJson(join(folder, 'package.json'))?.version === version && existsSync(join(folder, 'bin/node'))) return folder
  say(`installing Node ${version} from npm (${name}) into .cache/node`)
  mkdirSync(paths.nodeCache, { recursive: true })
  // The prefix needs a manifest of its own, or npm climbs to the checkout's and installs there.
  writeFileSync(join(paths.nodeCache, 'package.json'), '{ "private": true }\n')
  const flags = ['--no-save', '--no-package-lock', '--ignore-scripts', '--engine-strict=false', ...quiet]
  if (npm(paths, ['install', '--prefix', paths.nodeCache, ...flags, `${name}@${version}`]) !== 0)
    throw new Error(
      `Node ${version} could not be installed from npm (${name}); install Node ${requiredMajor} or later by hand`,
    )
  return folder
}

/** Makes `link` point at `target`, relative, so that the checkout can be moved. @param {string} link @param {string} target */
function pointAt(link, target) {
  mkdirSync(dirname(link), { recursive: true })
  if (lstatSync(link, { throwIfNoEntry: false })) rmSync(link)
  symlinkSync(relative(realpathSync(dirname(link)), target), link)
}

/**
 * Finds or installs a Node that is new enough.
 * @param {Paths} paths
 * @param {Say} say
 * @returns {{ binary: string, version: string, home: string | undefined }} `home` holds include/, undefined if nothing does
 */
function provideNode(paths, say) {
  const binary = realpathSync(process.execPath)
  const pinned = readJson(paths.manifest)?.devDependencies?.node
  // A Node of our own from an earlier bootstrap is no reason to stay at its version; nor is the one that `npm install`
  // unpacks in node_modules, in whose place the link to the chosen one is put.
  const isOurs = [paths.nodeCache, paths.modules].some((folder) => binary.startsWith(folder + sep))
  if (majorOf(process.version) >= requiredMajor && !isOurs) {
    return { binary, version: process.versions.node, home: headersFor(paths, binary, pinned, say) }
  }
  if (typeof pinned !== 'string') throw new Error('package.json pins no devDependency "node"')
  const home = installNodePackage(paths, pinned, say)
  return { binary: join(home, 'bin/node'), version: pinned, home }
}

/**
 * Headers to build addons with. Those of the pinned Node serve every Node of its major version, and are the ones that
 * are known to be good: addons built with the headers of 24.19 and later crash ssh2 (docs/guides/ssh.md, "Speed").
 * @param {Paths} paths @param {string} binary @param {unknown} pinned @param {Say} say
 */
function headersFor(paths, binary, pinned, say) {
  if (typeof pinned !== 'string' || majorOf(pinned) !== majorOf(process.version)) return dirname(dirname(binary))
  try {
    return installNodePackage(paths, pinned, say)
  } catch (error) {
    say(String(error))
    return undefined
  }
}

/**
 * Puts the chosen Node first on the PATH of every npm script and of `npx mahavishnu`.
 * @param {Paths} paths
 * @param {string} binary
 */
function linkNode(paths, binary) {
  pointAt(paths.nodePackageBinary, binary)
  pointAt(paths.nodeLink, paths.nodePackageBinary)
}

/** What an addon was built with: the version of the Node package, or the folder. @param {string} home */
function headersOf(home) {
  return readJson(join(home, 'package.json'))?.version ?? home
}

/** Whether ssh2's addon loads in the given Node. @param {Paths} paths @param {string} binary */
function addonLoads(paths, binary) {
  if (!existsSync(paths.sshcrypto)) return false
  return spawnSync(binary, ['-e', 'require(process.argv[1])', paths.sshcrypto], { stdio: 'ignore' }).status === 0
}

/**
 * Builds ssh2's addons for the Node in use. Without them ssh2 falls back to slower code and says nothing.
 * @param {Paths} paths
 * @param {{ binary: string, version: string, home: string | undefined }} node
 * @param {Say} say
 * @returns {boolean} whether they load
 */
function buildAddons(paths, node, say) {
  if (!existsSync(join(paths.modules, 'ssh2'))) return false
  const stamp = join(paths.modules, 'ssh2', '.built-with')
  const headers = node.home ?? node.version
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === headersOf(headers) && addonLoads(paths, node.binary))
    return true
  say(`building ssh2's native addons for Node ${node.version} (about half a minute)`)
  const env = {
    ...process.env,
    PATH: `${dirname(node.binary)}${delimiter}${process.env.PATH ?? ''}`,
    npm_config_ignore_scripts: 'false',
    // The user's own npmrc may name the headers of another Node, and the addon would then not load.
    ...(node.home ? { npm_config_nodedir: node.home } : {}),
  }
  // A compiler's chatter helps nobody unless it fails.
  const log = join(paths.cache, 'native-build.log')
  mkdirSync(paths.cache, { recursive: true })
  const output = openSync(log, 'w')
  npm(paths, ['rebuild', '--ignore-scripts=false', '--foreground-scripts', 'ssh2', 'cpu-features'], env, output)
  closeSync(output)
  writeFileSync(stamp, headersOf(headers))
  if (addonLoads(paths, node.binary)) return true
  say(`the addons did not build (they need a C++ compiler, make and python3; see ${relative(paths.root, log)})`)
  return false
}

/**
 * Does everything that is missing; call it under the lock.
 * @param {Paths} paths
 * @param {Say} say
 * @returns {Marker}
 */
export function bootstrap(paths, say) {
  installDependencies(paths, say)
  const node = provideNode(paths, say)
  linkNode(paths, node.binary)
  const native = buildAddons(paths, node, say)
  const marker = /** @type {Marker} */ ({
    format: 1,
    lock: hashOfLock(paths),
    node: node.binary,
    version: node.version,
    native,
  })
  writeFileSync(paths.marker, `${JSON.stringify(marker, undefined, 2)}\n`)
  say(`ready: Node ${node.version}, native: ${native}`)
  if (!native) say('SSH works without the addons, its crypto is slower; to try again, delete node_modules')
  return marker
}
