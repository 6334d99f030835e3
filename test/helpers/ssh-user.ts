import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { allPids, endAll, exitOnSignals, isRunning } from './processes.ts'

const run = promisify(execFile)

export interface SystemUser {
  readonly name: string
  readonly home: string
  readonly uid: number
  remove(): Promise<void>
}

/** Why no system user can be made here; undefined when one can. To be given to `skip`. */
export function userMissing(): string | undefined {
  return process.getuid?.() === 0 && process.platform === 'linux' ? undefined : 'needs root: makes a system user'
}

/** The PID of the test stands in the name, so that the next test can remove what a killed one has left. */
const OURS = /^mhvt-([0-9]+)-[0-9]+(?=:)/gm

const made = new Set<string>()
let count = 0
// A test that is stopped half-way must not leave accounts behind.
process.on('exit', () => {
  for (const name of made) {
    spawn('userdel', ['--force', '--remove', name], { stdio: 'ignore', detached: true }).unref()
    removeFishFolder(name)
  }
})
exitOnSignals()

/** Where fish keeps its sockets for a user who has no XDG_RUNTIME_DIR, as a session under sshd here: it stays there. */
function removeFishFolder(name: string): void {
  rmSync(`/tmp/fish.${name}`, { recursive: true, force: true })
}

async function sweep(): Promise<void> {
  for (const [name, pid] of readFileSync('/etc/passwd', 'utf8').matchAll(OURS)) {
    if (isRunning(Number(pid))) continue
    await run('userdel', ['--force', '--remove', name]).catch(() => undefined)
    removeFishFolder(name)
  }
}

/** Makes a system user, with a password if one is given, and with this login shell. Removed by `remove`, or at exit. */
export async function makeUser(options: { shell?: string; password?: string } = {}): Promise<SystemUser> {
  if (count === 0) await sweep()
  const name = `mhvt-${process.pid}-${count++}`
  made.add(name)
  const home = join(tmpdir(), name)
  await run('useradd', ['--create-home', '--shell', options.shell ?? '/bin/sh', '--home-dir', home, name])
  // Without a password, `*` instead of `!`: sshd takes an account with `!` for locked.
  if (options.password === undefined) await run('usermod', ['--password', '*', name])
  else await feed('chpasswd', [], `${name}:${options.password}\n`)
  const uid = Number((await run('id', ['-u', name])).stdout)
  return {
    name,
    home,
    uid,
    async remove() {
      await endAll(allPids().filter((pid) => ownerOf(pid) === uid))
      await run('userdel', ['--force', '--remove', name]).catch(() => undefined)
      removeFishFolder(name)
      made.delete(name)
    },
  }
}

function ownerOf(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^Uid:\t([0-9]+)/m)?.[1])
  } catch {
    return undefined
  }
}

async function feed(program: string, args: readonly string[], input: string): Promise<void> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] })
  child.stdin.end(input)
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${program} ended with ${code}`)
}
