/** The built program with idle terminal sessions: what a user has, the PTY host included. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { makeInstanceFolder } from './instance-folder.ts'
import { startMcpServer } from './mcp-client.ts'
import { MAHAVISHNU, pause, proportionalMegabytes, residentMegabytes } from './process.ts'

/** Time in which everything comes to rest, in milliseconds. */
const SETTLE_MS = 2_000

export interface ProgramMemory {
  /** Megabytes (10^6 bytes) of `mahavishnu mcp` and of the PTY host with the sessions. */
  readonly main: number
  readonly host: number
  /** Of `mahavishnu mcp` and the PTY host when one session was started and closed. */
  readonly none: number
  /** Of both with the sessions, where memory that they share, such as the program of Node, counts once; 0: not known. */
  readonly shared_once: number
}

/** @param look whether somebody looks at every screen */
export async function programMemory(folder: string, count: number, look: boolean): Promise<ProgramMemory> {
  makeFolder(folder)
  const [node, program] = MAHAVISHNU
  const server = await startMcpServer([node, program, 'mcp', '--folder', folder])
  const open: string[] = []
  const start = async () => {
    const { session } = dataOf(await server.call('terminal_start_interactive_session', { command: 'sh -i' }))
    open.push(session as string)
  }
  const close = async () => {
    for (const session of open.splice(0)) await server.call('terminal_close', { session })
  }
  try {
    await start()
    const host = hostOf(folder)
    await close()
    await pause(SETTLE_MS)
    const none = residentMegabytes(server.pid) + residentMegabytes(host)
    for (let each = 0; each < count; each++) await start()
    if (look) for (const session of open) await server.call('terminal_snapshot', { session })
    await pause(SETTLE_MS)
    const proportional = [server.pid, host].map((pid) => proportionalMegabytes(pid) ?? 0)
    return {
      main: residentMegabytes(server.pid),
      host: residentMegabytes(host),
      none,
      shared_once: proportional.reduce((sum, each) => sum + each, 0),
    }
  } finally {
    await close()
    await server.close()
  }
}

function makeFolder(folder: string): void {
  const terminal = { directories: ['/'], max_sessions: 200, max_sessions_per_owner: 200, host_idle_timeout: 1 }
  makeInstanceFolder(folder, { settings: { terminal }, target: {} })
  // Sessions of this machine have no target of a tier.
  const policy = { version: 1, name: 'all', rules: [{ id: 'all', decision: 'allow' }] }
  writeFileSync(join(folder, 'settings', 'policy.yaml'), stringify(policy))
}

/** The tools answer with a run, which has the data of its operation. */
function dataOf(answer: Record<string, unknown>): Record<string, unknown> {
  return (answer.data ?? answer) as Record<string, unknown>
}

/** The process of the PTY host of this folder, which is nobody's child. */
function hostOf(folder: string): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const found = pids.find((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      return words.some((word) => /terminal\/host\/main\.[jt]s$/.test(word)) && words.includes(join(folder, 'terminal'))
    } catch {
      return false
    }
  })
  if (found === undefined) throw new Error(`there is no PTY host of ${folder}`)
  return Number(found)
}
