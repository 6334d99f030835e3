import assert from 'node:assert/strict'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { createInstances, production } from '../../src/app.ts'
import { MhvError } from '../../src/core/errors.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { createRedactor, type Redactor } from '../../src/governance/redaction.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { makeUser, type SystemUser, userMissing } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const CANARY = 'canary-7f3a-9c41-d00d'
const [HALF, REST] = [CANARY.slice(0, 9), CANARY.slice(9)]
/** Prints the canary without having it in its text: in two pieces, so that they come as two chunks. */
const LEAK = `printf '%s' ${HALF}; sleep 0.2; printf '%s\\n' ${REST}; printf '%s%s\\n' ${HALF} ${REST} >&2`

/** Files of a folder that have the canary in them. */
async function filesWithCanary(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    if ((await readFile(path)).includes(CANARY)) found.push(path)
  }
  return found
}

/** Command lines and environments of all processes that this one started, looked at over and over until stopped. */
function watchProcesses() {
  const seen = new Set<string>()
  let on = true
  const watching = (async () => {
    while (on) {
      for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
        for (const what of ['cmdline', 'environ']) {
          const bytes = await readFile(`/proc/${pid}/${what}`).catch(() => Buffer.alloc(0))
          if (bytes.includes(CANARY)) seen.add(`${what} of ${pid}`)
        }
      }
    }
  })()
  return {
    async stop() {
      on = false
      await watching
      return [...seen]
    },
  }
}

/** Not masking anything: the negative control. */
function blindRedactor(): Redactor {
  return { ...createRedactor(), add: () => undefined }
}

const missing = sshdMissing() ?? userMissing()

suite('CORE-04: a secret is found nowhere', { skip: missing ?? false }, () => {
  let sshd: Sshd
  let user: SystemUser
  before(async () => {
    user = await makeUser({ password: CANARY, shell: '/bin/sh' })
    sshd = await startSshd({ config: ['PasswordAuthentication yes'] })
  })
  after(async () => {
    await sshd.stop()
    await user.remove()
  })

  async function withInstance<T>(
    password: unknown,
    redactor: () => Redactor,
    act: (instance: Instance, folder: string, run: (command: string) => Promise<WorkerResult>) => Promise<T>,
  ): Promise<T> {
    const target = { user: user.name, identity_files: [], password }
    const folder = await sshInstance(sshd, { target })
    await writeFile(
      join(folder, 'print-secret'),
      `#!/bin/sh\nenv > ${folder}/seen-environment\nprintf '%s-%s-%s-%s\\n' ${CANARY.split('-').join(' ')}\n`,
      { mode: 0o700 },
    )
    const composition = { ...production(), env: { ...process.env, CANARY_PASSWORD: CANARY }, createRedactor: redactor }
    const instance = await createInstances(composition).open({ folder, doing: 'test', set: { 'log.level': 'debug' } })
    const run = (command: string) =>
      instance.invoke({
        operation: 'ssh.execute',
        input: { command },
        envelope: { target: 'box' },
        principal: instance.principal,
        surface: 'embedded',
      })
    try {
      return await act(instance, folder, run)
    } finally {
      await instance.close()
      await rm(folder, { recursive: true, force: true })
    }
  }

  const everything = async (instance: Instance, run_id: string) => {
    const { principal } = instance
    const calls = ['run_get', 'run_output'].map((name) => instance.control({ name, input: { run_id }, principal }))
    return JSON.stringify(await Promise.all(calls))
  }

  test('neither in output split over two chunks, nor in the journal, nor in any process', async () => {
    await withInstance('env:CANARY_PASSWORD', createRedactor, async (instance, folder, run) => {
      const processes = watchProcesses()
      const result = await run(LEAK)
      assert.equal(result.status, 'completed', result.error ?? '')
      assert.match(result.output ?? '', /^\[redacted\]/)
      assert.ok(!JSON.stringify(result).includes(CANARY))
      assert.ok(!(await everything(instance, result.run_id)).includes(CANARY))
      assert.deepEqual(await processes.stop(), [])
      assert.deepEqual(await filesWithCanary(folder), [])
    })
  })

  test('not in an error of the driver that repeats it', async () => {
    await withInstance('env:CANARY_PASSWORD', createRedactor, async (instance, folder, run) => {
      await run('true')
      const { data } = await run(`cd /nowhere-${HALF}${'"'}${'"'}${REST}; exit 1`)
      assert.match(String((data as { stderr: string }).stderr), /\[redacted\]/)
      assert.deepEqual(await filesWithCanary(folder), [])
      await assert.rejects(run(`echo ${CANARY}`), (error: unknown) => {
        assert.ok(error instanceof MhvError && error.code === 'MHV_INPUT_SECRET')
        assert.ok(!error.message.includes(CANARY))
        return true
      })
      assert.deepEqual(await filesWithCanary(folder), [])
      assert.ok(
        !JSON.stringify(
          await instance.control({ name: 'worker_health', input: {}, principal: instance.principal }),
        ).includes(CANARY),
      )
    })
  })

  test('a program that gives a secret sees no other secret in its environment', async () => {
    await withInstance({ exec: ['./print-secret'] }, createRedactor, async (_instance, folder, run) => {
      const result = await run('id -un')
      assert.equal(result.output, `${user.name}\n`)
      const environment = await readFile(join(folder, 'seen-environment'), 'utf8')
      assert.match(environment, /^PATH=/m)
      assert.ok(!environment.includes(CANARY))
    })
  })

  test('negative control: without redaction the journal has it', async () => {
    await withInstance('env:CANARY_PASSWORD', blindRedactor, async (instance, folder, run) => {
      const result = await run(LEAK)
      assert.ok(JSON.stringify(result).includes(CANARY))
      assert.ok((await everything(instance, result.run_id)).includes(CANARY))
      assert.notDeepEqual(await filesWithCanary(folder), [])
    })
  })
})
