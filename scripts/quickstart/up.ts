import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inRoot } from '../lib/paths.ts'
import { endWithThisProcess } from './children.ts'

/** A `mahavishnu up` of our own, on a free port of 127.0.0.1. */
export interface Up {
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly pid: number
  /** The answer's text. Throws unless its status is 200. @param path begins with a slash */
  get(path: string): Promise<string>
  /** Ends the process (SIGTERM) and waits until it is gone. */
  stop(): Promise<void>
}

/** Starts it as a user would, and waits until it listens. Throws with its own words when it ends instead. */
export async function startUp(folder: string): Promise<Up> {
  const args = [inRoot('bin/mahavishnu.cjs'), 'up', '--folder', folder, '--set', 'http.port=0']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  endWithThisProcess(child)
  const closed = once(child, 'close')
  const listening = Promise.withResolvers<string>()
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
    const [, url] = /^listening on (\S+) and .+\n(?=the token is in .*\n)/m.exec(said) ?? []
    if (url !== undefined) listening.resolve(url)
  })
  const ended = closed.then(() => Promise.reject(new Error(`mahavishnu up ended:\n${said}`)))
  ended.catch(() => undefined)
  const url = await Promise.race([listening.promise, ended])
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  return {
    url,
    pid: child.pid as number,
    async get(path) {
      const answer = await fetch(`${url}${path}`, { headers: { Authorization: `Bearer ${token}` } })
      const text = await answer.text()
      if (answer.status !== 200) throw new Error(`GET ${path} was answered with ${answer.status}: ${text}`)
      return text
    },
    async stop() {
      child.kill('SIGTERM')
      await closed
    },
  }
}
