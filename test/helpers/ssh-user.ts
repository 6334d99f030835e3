import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { allPids, endAll } from './processes.ts'

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

const made = new Set<string>()
// A test that is stopped half-way must not leave accounts behind.
process.on('exit', () => {
  for (const name of made) spawn('userdel', ['--force', '--remove', name], { stdio: 'ignore', detached: true }).unref()
})

/** Makes a system user, with a password if one is given, and with this login shell. Removed by `remove`, or at exit. */
export async function makeUser(options: { shell?: string; password?: string } = {}): Promise<SystemUser> {
  const name = `mhvt${process.pid.toString(36)}${made.size}${Math.random().toString(36).slice(2, 6)}`
  made.add(name)
  await run('useradd', ['--create-home', '--shell', options.shell ?? '/bin/sh', '--home-dir', `/tmp/${name}`, name])
  // Without a password, `*` instead of `!`: sshd takes an account with `!` for locked.
  if (options.password === undefined) await run('usermod', ['--password', '*', name])
  else await feed('chpasswd', [], `${name}:${options.password}\n`)
  const uid = Number((await run('id', ['-u', name])).stdout)
  return {
    name,
    home: `/tmp/${name}`,
    uid,
    async remove() {
      await endAll(allPids().filter((pid) => ownerOf(pid) === uid))
      await run('userdel', ['--force', '--remove', name]).catch(() => undefined)
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
