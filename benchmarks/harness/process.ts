import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** The program as it is installed: `[node, bin/mahavishnu.cjs]`. */
export const MAHAVISHNU: readonly [string, string] = [process.execPath, join(ROOT, 'bin/mahavishnu.cjs')]

/** Resident memory of a process in megabytes (10^6 bytes), as the kernel counts it. Linux only. */
export function residentMegabytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (line?.[1] === undefined) throw new Error(`process ${pid} has no VmRSS`)
  return (Number(line[1]) * 1024) / 1e6
}

/** The same with what several processes share divided among them; undefined where the kernel does not tell. Linux only. */
export function proportionalMegabytes(pid: number): number | undefined {
  const file = `/proc/${pid}/smaps_rollup`
  if (!existsSync(file)) return undefined
  const line = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(file, 'utf8'))
  return line?.[1] === undefined ? undefined : (Number(line[1]) * 1024) / 1e6
}

export function procMissing(): string | undefined {
  return existsSync('/proc/self/status') ? undefined : 'there is no /proc: resident memory is only read on Linux'
}

/** Milliseconds from starting a program to its end. A program that fails ends the benchmark. */
export function wallTime(program: string, args: readonly string[]): Promise<number> {
  const began = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 2] })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      if (code === 0) resolve(performance.now() - began)
      else reject(new Error(`${program} ${args.join(' ')} ended with ${signal ?? code}`))
    })
  })
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
