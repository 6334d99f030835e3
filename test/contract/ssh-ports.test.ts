import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PortName, Ports } from '../../src/core/ports.ts'
import { remoteExecContract } from '../../src/testing/remote-exec-contract.ts'
import { remoteFsContract } from '../../src/testing/remote-fs-contract.ts'
import { remotePtyContract } from '../../src/testing/remote-pty-contract.ts'
import { lent } from '../fixtures/isolation/port-workers.ts'
import { isolationInstance } from '../helpers/isolation-instance.ts'
import { carrying } from '../helpers/processes.ts'
import { sshdMissing, startSshd } from '../helpers/sshd.ts'

/** The ports of the ssh worker, from another worker, with the ssh worker here and in a process of its own. */

const skip = sshdMissing() ?? false

async function portOf<P extends PortName>(name: P, isolation: string) {
  const sshd = await startSshd()
  const block = { host: sshd.host, port: sshd.port, user: sshd.user, identity_files: [sshd.userKey] }
  const module = new URL('../fixtures/isolation/port-workers.ts', import.meta.url)
  const settings = { ssh: { isolation, known_hosts: [], config_files: [], kill_grace: 0.5 } }
  const instance = await isolationInstance(settings, { module, blocks: { ssh: block } })
  await writeFile(join(instance.folder, 'known_hosts'), sshd.knownHosts, { mode: 0o600 })
  const { status, error } = await instance.call('borrower.borrow', { port: name })
  assert.equal(status, 'completed', error ?? '')
  return {
    port: lent[name] as Ports[P],
    target: 'one',
    runs: (text: string) => carrying(text).length > 0,
    async close() {
      await instance[Symbol.asyncDispose]()
      await sshd.stop()
    },
  }
}

for (const isolation of ['none', 'process']) {
  remoteExecContract(`ssh, isolation: ${isolation}`, () => portOf('RemoteExec', isolation), skip)
  remoteFsContract(`ssh, isolation: ${isolation}`, () => portOf('RemoteFs', isolation), skip)
  remotePtyContract(`ssh, isolation: ${isolation}`, () => portOf('RemotePty', isolation), skip)
}
