import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { suite, test } from 'node:test'
import { probeFolder } from '../helpers/probe-composition.ts'
import { statOf, until } from '../helpers/processes.ts'

interface Said {
  readonly open?: string
  readonly failed?: string
  readonly error?: string
  readonly result?: { readonly status: string; readonly error_code: string | null; readonly run_id: string }
  readonly readiness?: { readonly ready: boolean; readonly reasons: readonly string[] }
}

/** A process on the folder, and what it says, one thing after the other. */
class Child {
  readonly process: ChildProcessByStdio<Writable, Readable, null>
  readonly #said: Said[] = []

  constructor(folder: string, name: string, ...more: readonly string[]) {
    const program = join(import.meta.dirname, '../fixtures/takeover-child.ts')
    this.process = spawn(process.execPath, [program, folder, name, ...more], { stdio: ['pipe', 'pipe', 'ignore'] })
    createInterface({ input: this.process.stdout }).on('line', (line) => this.#said.push(JSON.parse(line) as Said))
  }

  tell(line: string): void {
    this.process.stdin.write(`${line}\n`)
  }

  /** What it says of one of these, whichever comes first. */
  async hears<Key extends keyof Said>(...keys: readonly Key[]): Promise<NonNullable<Said[Key]>> {
    const find = () => this.#said.findIndex((each) => keys.some((key) => each[key] !== undefined))
    assert.ok(await until(() => find() >= 0, 20_000), `it never said "${keys}", but ${JSON.stringify(this.#said)}`)
    const [said] = this.#said.splice(find(), 1)
    return keys.map((key) => said?.[key]).find((each) => each !== undefined) as NonNullable<Said[Key]>
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  get exited(): Promise<unknown> {
    const { exitCode, signalCode } = this.process
    if (exitCode !== null || signalCode !== null) return Promise.resolve()
    return new Promise((resolve) => this.process.once('exit', resolve))
  }
}

/**
 * Two processes on one folder: the first is stopped while its run waits for its next attempt, its lock is broken by
 * deleting the file, a second process takes the folder over and does the work, and the first goes on.
 *
 * @returns who has acted, as the far side saw it, and what the first one says
 */
async function takeOver(...control: readonly string[]) {
  const folder = await probeFolder()
  const children: Child[] = []
  const start = (...args: [name: string, ...more: string[]]) => {
    const child = new Child(folder, ...args)
    children.push(child)
    return child
  }
  try {
    const first = start('first', ...control)
    await first.hears('open')
    first.tell('call k')
    await first.hears('failed')
    first.signal('SIGSTOP')
    assert.ok(await until(() => statOf(first.process.pid as number)?.state === 'T'))

    await rm(join(folder, 'instance.lock'))
    const second = start('second')
    await second.hears('open')
    // The key leads to the run that was cut off, so the work is asked for under another one.
    second.tell('call k')
    const cutOff = await second.hears('result')
    second.tell('call l')
    const done = await second.hears('result')

    first.signal('SIGCONT')
    const answer = await first.hears('error', 'result')
    first.tell('call m')
    const late = control.length === 0 ? await first.hears('error') : undefined
    first.tell('ready')
    const readiness = await first.hears('readiness')
    const ledger = (await readFile(join(folder, 'ledger'), 'utf8')).trim().split('\n')
    return { cutOff, done, answer, late, readiness, ledger }
  } finally {
    for (const child of children) {
      child.signal('SIGKILL')
      await child.exited
    }
    await rm(folder, { recursive: true })
  }
}

suite('RES-02 a process that is stopped while another takes its folder over', {
  skip: process.platform !== 'linux',
  concurrency: true,
}, () => {
  test('RES-02 does not act when it goes on: its run was ended, and the work is done once', async () => {
    const { cutOff, done, answer, late, readiness, ledger } = await takeOver()
    assert.deepEqual([cutOff.status, cutOff.error_code, done.status], ['failed', 'MHV_RUN_INTERRUPTED', 'completed'])
    assert.deepEqual(ledger, ['second'])
    assert.deepEqual([answer, late], ['MHV_RUN_INTERRUPTED', 'MHV_INSTANCE_FENCED'])
    assert.deepEqual(readiness, { ready: false, reasons: ['MHV_INSTANCE_FENCED'] })
  })

  test('RES-02 without the fence it would act again: the control', async () => {
    const { ledger, readiness } = await takeOver('unfenced')
    assert.deepEqual(ledger.slice(0, 2), ['second', 'first'])
    assert.equal(readiness.ready, true)
  })
})
