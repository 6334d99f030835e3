/** One command on ten hosts at once over connections that are there, beside Ansible. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type BenchOptions, interleavingOf } from './harness/area.ts'
import { makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { type Row, toRow } from './harness/row.ts'
import { startSide } from './harness/side.ts'
import { ADDRESSES, type BenchSshd } from './harness/sshd.ts'
import { ansibleMissing, prepareAnsible } from './peers/ansible.ts'
import type { InstanceSide } from './sides/instance.ts'

const NAMES = ADDRESSES.map((_, number) => `host-${number}`)
const LOAD = { targets: NAMES, each: 1, command: 'true' }
/** Ours takes milliseconds: so many of them in a turn. */
const PER_TURN = 10

function makeHosts(instance: string, sshd: BenchSshd): void {
  mkdirSync(instance)
  const target = sshTargetOf(sshd)
  const alias = `[${sshd.host}]:${sshd.port}`
  const more = ADDRESSES.map((host, number) => [NAMES[number], { ssh: { ...target, host, host_key_alias: alias } }])
  makeInstanceFolder(instance, { target: { ssh: target }, more: Object.fromEntries(more) })
}

export async function hostsRows(options: BenchOptions, sshd: BenchSshd, folder: string): Promise<readonly Row[]> {
  const missing = ansibleMissing()
  if (missing !== undefined) {
    options.say(`  ssh.hosts.10 is left out: ${missing}`)
    return []
  }
  const instance = join(folder, 'hosts')
  makeHosts(instance, sshd)
  const ansible = prepareAnsible(sshd, folder)
  const ours = await startSide<InstanceSide>(new URL('./sides/instance.ts', import.meta.url))
  try {
    await ours.call('open', { folder: instance })
    const values = await interleave(
      {
        ours: async () => {
          let seconds = 0
          for (let run = 0; run < PER_TURN; run++) seconds += await ours.call('spread', LOAD)
          return seconds / PER_TURN
        },
        peer: () => ansible.run(LOAD.command),
      },
      interleavingOf(options, 'ten hosts, Ansible', 1),
    )
    return [
      toRow(
        {
          name: 'ssh.hosts.10',
          title:
            'times per second that one command is run on 10 hosts at once, by an instance that runs, beside Ansible',
          unit: '1/s',
          better: 'higher',
          ours: ratePerSecond(values.ours, 1),
          peer: {
            name: 'ansible all -m raw, pooled connections (ControlPersist)',
            version: ansible.version,
            values: ratePerSecond(values.peer, 1),
          },
          goal: { of: 'ratio', is: '>=', limit: 20 },
          settings: { ...sshd.settings, hosts: NAMES.length, command: LOAD.command, forks: NAMES.length },
        },
        options,
      ),
    ]
  } finally {
    await ours.end()
    ansible.close()
  }
}
