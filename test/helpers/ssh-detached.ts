import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { WorkerState } from '../../src/core/context.ts'
import { settleDetached } from '../../src/workers/ssh/detached/settle-detached.ts'
import { endRuns } from './processes.ts'
import { operationContext, startWorker, type TestRun, targetOf } from './ssh-context.ts'
import { makeUser, type SystemUser } from './ssh-user.ts'
import { type Sshd, startSshd } from './sshd.ts'

/** A test sshd with accounts of its own, a pool, and what runs on it. */
export interface DetachedHost {
  readonly sshd: Sshd
  account(shell: string): Promise<SystemUser>
  contextFor(user: SystemUser, options?: DetachedOptions, server?: Sshd): TestRun
  close(): Promise<void>
}

export type DetachedOptions = Parameters<typeof operationContext>[2] & {
  readonly state?: WorkerState
  readonly runId?: string
}

export async function startDetachedHost(): Promise<DetachedHost> {
  const sshd = await startSshd()
  const worker = await startWorker({ settings: { kill_grace: 0.3 } })
  const users: SystemUser[] = []
  const runs: string[] = []
  return {
    sshd,
    async account(shell) {
      const user = await makeUser({ shell })
      users.push(user)
      return user
    },
    contextFor(user, options = {}, server = sshd) {
      const target = targetOf(server, { user: user.name, identity_files: [sshd.userKey] })
      const run = operationContext(worker, target, options)
      const ctx = { ...run, state: options.state ?? memoryState(), run_id: options.runId ?? run.run_id }
      runs.push(ctx.run_id)
      return ctx
    },
    async close() {
      await worker.close()
      await endRuns(runs)
      await sshd.stop()
      for (const user of users) await user.remove()
    },
  }
}

/** The worker's state, as the journal has it. */
export function memoryState(): WorkerState {
  const entries = new Map<string, unknown>()
  return {
    get: async (key) => entries.get(key),
    set: async (key, value) => void entries.set(key, structuredClone(value)),
    delete: async (key) => void entries.delete(key),
    list: async (prefix) =>
      [...entries].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => ({ key, value })),
  }
}

/** Tidies up as the runtime does: with a time of its own. */
export const settle = (ctx: TestRun) => settleDetached({ ...ctx, signal: AbortSignal.timeout(10_000) })

/** What detached commands have in the home folder of a user. */
export function filesOf(user: SystemUser): string[] {
  const folder = join(user.home, '.local/state/mahavishnu/detached')
  return existsSync(folder) ? readdirSync(folder) : []
}

export type Failure = Error & { code: string; details: Record<string, unknown> }

export function failureOf(running: Promise<unknown>): Promise<Failure> {
  return running.then(
    (data) => assert.fail(`done: ${JSON.stringify(data)}`),
    (error: Failure) => error,
  )
}
