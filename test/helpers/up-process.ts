import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from './processes.ts'

/** `mahavishnu up` as it is shipped, in a process of its own, to be asked over HTTP, killed and started again. */

const started = new Set<ChildProcess>()

export interface Up {
  readonly child: ChildProcess
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  ask(path: string, body?: object): Promise<any>
}

export async function startUp(folder: string): Promise<Up> {
  const bin = join(import.meta.dirname, '../../src/bin.ts')
  const args = [bin, 'up', '--folder', folder, '--set', 'http.port=0']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  started.add(child)
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  assert.ok(await until(() => /the token is in .*\n/.test(said), 20_000), said)
  const url = /^listening on (\S+) and/m.exec(said)?.[1] ?? ''
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  return {
    child,
    async ask(path, body) {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const sent = body === undefined ? { headers } : { headers, method: 'POST', body: JSON.stringify(body) }
      return (await fetch(`${url}${path}`, sent)).json()
    },
  }
}

/** Ends it with a signal, and waits until it is gone. */
export async function endUp(up: Up, signal: NodeJS.Signals): Promise<void> {
  const gone = once(up.child, 'exit')
  up.child.kill(signal)
  await gone
  started.delete(up.child)
}

/** Kills those that a test has left. */
export function killUps(): void {
  for (const child of started) child.kill('SIGKILL')
}
