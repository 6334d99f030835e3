// @ts-check
/**
 * The entry of every npm script. It runs on an older Node with nothing installed, provides what is missing
 * (npm packages, a Node that is new enough, ssh2's native addons, dist), then hands over to scripts/<command>.ts.
 *
 *   node scripts/bootstrap.mjs <command> [arguments…]
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { build, isBuilt } from './bootstrap/build.mjs'
import { bootstrap, currentMarker } from './bootstrap/install.mjs'
import { withLock } from './bootstrap/lock.mjs'
import { checkout, pathsOf } from './bootstrap/paths.mjs'

/** sysexits.h EX_CONFIG: the checkout or the machine is not set up for the command. */
const exitNotReady = 78

/** What a command needs before it starts; a failed build stops it only where it runs nothing but dist. */
const needs = /** @type {Record<string, { dist?: 'required' | 'wanted', servers?: true }>} */ ({
  quickstart: { dist: 'required' },
  transcript: { dist: 'required' },
  surfaces: { dist: 'required' },
  bench: { dist: 'required' },
  soak: { dist: 'required' },
  build: { dist: 'required' },
  chaos: { servers: true },
  test: { dist: 'wanted', servers: true },
})

const paths = pathsOf(checkout)

/** stdout belongs to the command's data, so that `--json` can be piped. @param {string} message */
function say(message) {
  process.stderr.write(`bootstrap: ${message}\n`)
}

async function ensureInstalled() {
  const ready = currentMarker(paths)
  if (ready) return ready
  return withLock(join(paths.cache, 'bootstrap.lock'), say, () => currentMarker(paths) ?? bootstrap(paths, say))
}

/** @param {string} node @returns {Promise<boolean>} */
async function ensureBuilt(node) {
  if (isBuilt(paths)) return true
  return withLock(join(paths.cache, 'build.lock'), say, () => isBuilt(paths) || build(paths, node, say))
}

/** The tests' servers come from Debian; elsewhere, or without root, the tests that need them are skipped and say so. */
function ensureServers() {
  const able = process.getuid?.() === 0 && existsSync('/etc/debian_version')
  if (!able || process.env.MHV_SETUP === 'skip') return
  const { status } = spawnSync('bash', [join(checkout, 'scripts/setup-servers')], { stdio: ['ignore', 2, 2] })
  if (status !== 0) say('scripts/setup-servers did not get everything; tests that need the rest are skipped')
}

/**
 * Runs the command under the given Node with our own streams; ends as it ends.
 * @param {string} node
 * @param {string} script
 * @param {string[]} args
 */
function handOver(node, script, args) {
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` }
  const child = spawn(node, [script, ...args], { stdio: 'inherit', env, cwd: checkout })
  const forwarded = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'])
  for (const signal of forwarded) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the whole process group: the child has it already.
      if (!(signal === 'SIGINT' && process.stdin.isTTY)) child.kill(signal)
    })
  }
  child.on('error', (error) => {
    say(`could not start ${node}: ${error.message}`)
    process.exitCode = exitNotReady
  })
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code ?? 1
      return
    }
    for (const name of forwarded) process.removeAllListeners(name)
    process.kill(process.pid, signal)
    // Reached for signals that are ignored here.
    process.exitCode = 128 + constants.signals[signal]
  })
}

/** @param {string} [command] @param {string[]} args */
async function main(command, ...args) {
  const script = join(checkout, 'scripts', `${command}.ts`)
  const known = command !== undefined && (command === 'build' || existsSync(script))
  if (!known) {
    say(command === undefined ? 'usage: node scripts/bootstrap.mjs <command>' : `there is no scripts/${command}.ts`)
    process.exitCode = exitNotReady
    return
  }
  const { node } = await ensureInstalled()
  const { dist, servers } = needs[command] ?? {}
  const built = dist === undefined || (await ensureBuilt(node))
  if (!built && dist === 'required') {
    say('the build failed; its messages are above')
    process.exitCode = 1
    return
  }
  if (command === 'build') return
  if (servers) ensureServers()
  if (!built) process.env.MHV_BUILD_FAILED = '1'
  handOver(node, script, args)
}

try {
  await main(process.argv[2], ...process.argv.slice(3))
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = exitNotReady
}
