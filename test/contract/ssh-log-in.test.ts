import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { AuthContext, KeyboardAuthContext } from 'ssh2'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshTarget } from '../../src/workers/ssh/settings.ts'
import { sshTarget } from '../../src/workers/ssh/settings.ts'
import { hostileKnownHosts, hostileSsh } from '../helpers/hostile-ssh.ts'
import { type SshAgent, startSshAgent } from '../helpers/ssh-agent.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { makeKey, type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** Passwords that are asked for by questions, and agents with more keys than a host allows attempts. */

const skip = sshdMissing()
let worker: TestWorker
let sshd: Sshd
let agent: SshAgent

before(async () => {
  worker = await startWorker({ secrets: { PASSWORD: 'correct horse' } })
  if (skip) return
  sshd = await startSshd({ config: ['MaxAuthTries 3'] })
  agent = await startSshAgent()
})
after(async () => {
  await worker.close()
  if (skip) return
  await agent.stop()
  await sshd.stop()
})

/** Logs in to a server that asks so, and runs a command there. */
async function asked(authenticate: (context: AuthContext) => void): Promise<string> {
  const server = await hostileSsh({ authenticate })
  const file = join(worker.folder, `known_hosts-${server.port}`)
  await writeFile(file, hostileKnownHosts([server.port]))
  const address = { host: '127.0.0.1', port: server.port, user: 'u', password: 'env:PASSWORD', known_hosts: [file] }
  try {
    const context = operationContext(worker, sshTarget.parse(address))
    return (await runCommand(context, { command: 'echo in' })).stdout
  } finally {
    await server.close()
  }
}

const byQuestion = (act: (context: KeyboardAuthContext) => void) => (context: AuthContext) => {
  if (context.method === 'keyboard-interactive') act(context)
  else context.reject(['keyboard-interactive'])
}

test('a host that asks one hidden question gets the password, once', async () => {
  const answers: string[][] = []
  const let_in = byQuestion((context) =>
    context.prompt([{ prompt: 'Password: ', echo: false }], (given) => {
      answers.push(given as unknown as string[])
      context.accept()
    }),
  )
  assert.equal(await asked(let_in), 'in\n')
  assert.deepEqual(answers, [['correct horse']])
})

test('what else a host asks is refused, with its words, and gets no answer', async () => {
  const answers: unknown[] = []
  const ask = (prompts: { prompt: string; echo: boolean }[]) =>
    byQuestion((context) => context.prompt(prompts, (given) => answers.push(given)))
  for (const prompts of [
    [{ prompt: 'Verification\x1b[2J code: ', echo: true }],
    [
      { prompt: 'Password: ', echo: false },
      { prompt: 'Verification code: ', echo: false },
    ],
  ]) {
    await assert.rejects(asked(ask(prompts)), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'MHV_SSH_AUTH_FAILED')
      assert.match(error.message, /asks what cannot be answered: .*"Verification code:"/)
      return true
    })
  }
  assert.deepEqual(answers, [])
})

test('a password that was refused is not given again in another way', async () => {
  let given = 0
  const refusing = (context: AuthContext) => {
    if (context.method === 'password') given += 1
    if (context.method === 'keyboard-interactive') given += 100
    context.reject(['password', 'keyboard-interactive'])
  }
  await assert.rejects(asked(refusing), { code: 'MHV_SSH_AUTH_FAILED' })
  assert.equal(given, 1)
})

test('too many keys of an agent are explained; IdentitiesOnly takes the right one', { skip }, async () => {
  for (let n = 0; n < 5; n++) {
    const key = join(sshd.folder, `other-${n}`)
    await makeKey(key, 'ed25519')
    await agent.add(key)
  }
  await agent.add(sshd.userKey)
  const run = (target: SshTarget, on = worker) => runCommand(operationContext(on, target), { command: 'echo in' })
  const target = targetOf(sshd, { agent: agent.socket, identity_files: undefined })
  await assert.rejects(run(target), (error: Error & { code?: string; remedy?: string }) => {
    assert.equal(error.code, 'MHV_SSH_AUTH_FAILED')
    assert.match(error.message, /accepted none of: agent \(6 keys\); then the host ended the log-in/)
    assert.match(error.remedy ?? '', /MaxAuthTries/)
    return true
  })
  // Only the public half of the key lies there: it is the agent that signs.
  const half = join(sshd.folder, 'half')
  await writeFile(`${half}.pub`, await readFile(`${sshd.userKey}.pub`))
  const config = join(sshd.folder, 'config')
  await writeFile(config, `Host *\n  IdentitiesOnly yes\n  IdentityFile ${half}\n`, { mode: 0o600 })
  const configured = await startWorker({ settings: { config_files: [config] } })
  try {
    assert.equal((await run(target, configured)).stdout, 'in\n')
  } finally {
    await configured.close()
  }
})
