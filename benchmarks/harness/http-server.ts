import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

/** A server on loopback in a process of its own. */
export interface HttpServerUnderTest {
  readonly pid: number
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  /** From the start of the process until `/readyz` was answered with 200, in milliseconds. */
  readonly readyMs: number
  /** Tells it to end (SIGTERM) and waits for that. */
  close(): Promise<void>
}

/** Milliseconds in which a server must have told where it listens, and those in which it must have ended. */
const START_MS = 20_000
const END_MS = 10_000

/** Starts a program that says `listening on URL` on standard error. Throws with what it said where it does not. */
export async function startHttpServer(command: readonly string[]): Promise<HttpServerUnderTest> {
  const [program = '', ...args] = command
  const began = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  const abandon = () => child.kill('SIGKILL')
  process.on('exit', abandon)
  const url = await listeningUrl(child, exited)
  const { status } = await fetch(`${url}/readyz`)
  const readyMs = performance.now() - began
  if (status !== 200) throw new Error(`${command.join(' ')}: /readyz answers ${status}`)
  return {
    pid: child.pid ?? 0,
    url,
    readyMs,
    async close() {
      const timer = setTimeout(abandon, END_MS)
      child.kill('SIGTERM')
      const [code, signal] = await exited
      clearTimeout(timer)
      process.off('exit', abandon)
      if (code !== 0) throw new Error(`${command.join(' ')} ended with ${signal ?? code}`)
    },
  }
}

function listeningUrl({ stderr }: ChildProcess, exited: Promise<unknown[]>): Promise<string> {
  let said = ''
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`the server ${why}: ${said}`))
    const timer = setTimeout(() => fail(`does not listen after ${START_MS} ms`), START_MS)
    exited.then(() => fail('ended before it listened'), reject).finally(() => clearTimeout(timer))
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-10_000)
      const [, url] = /^listening on (http:\S+)/m.exec(said) ?? []
      if (url === undefined) return
      clearTimeout(timer)
      resolve(url)
    })
  })
}

/** Clock ticks of `/proc/PID/stat` in a second: USER_HZ, which Linux fixes for programs. */
const TICKS_PER_SECOND = 100

/** Processor time of a process and all its threads so far, in milliseconds, in steps of ten. Linux only. */
export function processorTime(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name of the program stands in brackets and may have spaces: fields are counted behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [user, system] = [Number(fields[11]), Number(fields[12])]
  return ((user + system) * 1000) / TICKS_PER_SECOND
}
