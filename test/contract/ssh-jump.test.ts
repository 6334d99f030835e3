import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { type ConnectParts, connectSsh } from '../../src/workers/ssh/connect.ts'
import { fingerprintOf } from '../../src/workers/ssh/host-keys.ts'
import { linkJumps } from '../../src/workers/ssh/route/link-target.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshTarget } from '../../src/workers/ssh/settings.ts'
import { until } from '../helpers/processes.ts'
import { type SshAgent, startSshAgent } from '../helpers/ssh-agent.ts'
import { memorySink, operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { freePort, makeKey, type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { type ConnectionCount, startTcpProxy } from '../helpers/tcp-proxy.ts'

/** Ways over jump hosts: three real servers, the last one reached through the first two. */

const skip = sshdMissing()
let [first, second, last]: Sshd[] = []
let servers: Record<'first' | 'second' | 'last', Sshd>
let worker: TestWorker
let agent: SshAgent

before(async () => {
  if (skip) return
  ;[first, second, last] = await Promise.all([startSshd(), startSshd(), startSshd()])
  servers = { first: first as Sshd, second: second as Sshd, last: last as Sshd }
  worker = await startWorker({ settings: { connect_timeout: 20 } })
  agent = await startSshAgent()
})
after(async () => {
  if (skip) return
  await worker.close()
  await agent.stop()
  for (const server of Object.values(servers)) await server.stop()
})

/** A target as the inventory gives it to the worker. */
function linked(target: SshTarget, others: Readonly<Record<string, SshTarget>>): SshTarget {
  return linkJumps(target, (name) => others[name])
}

/** The last server, by way of the first two, each with its own credentials and known_hosts. */
function twoHops(more: { first?: Partial<SshTarget>; second?: Partial<SshTarget>; last?: Partial<SshTarget> } = {}) {
  return linked(targetOf(servers.last, { proxy_jump: ['gate-1', 'gate-2'], ...more.last }), {
    'gate-1': targetOf(servers.first, more.first),
    'gate-2': targetOf(servers.second, more.second),
  })
}

const run = (target: SshTarget, command = 'echo $SSH_CONNECTION', on = worker) =>
  runCommand(operationContext(on, target), { command })

function connect(target: SshTarget, parts?: ConnectParts) {
  const { settings, folder, log, secrets } = worker
  return connectSsh({ target, settings, folder, clock: systemClock, log, secrets }, new AbortController().signal, parts)
}

function failure(code: string, ...texts: RegExp[]) {
  return (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message)
    for (const text of texts) assert.match(error.message, text)
    return true
  }
}

const accepted = async (server: Sshd) =>
  (await server.log()).split('\n').filter((line) => line.includes('Accepted publickey for')).length

suite('a way over two jump hosts', { skip }, () => {
  test('leads to the last host, through the others', async () => {
    const before = await Promise.all(Object.values(servers).map(accepted))
    const { stdout } = await run(twoHops())
    assert.match(stdout, new RegExp(` ${servers.last.port}$`, 'm'))
    const logged = await Promise.all(Object.values(servers).map(accepted))
    assert.deepEqual(
      logged.map((count, place) => count - (before[place] ?? 0)),
      [1, 1, 1],
    )
  })

  test('carries what a command writes and reads, whole', async () => {
    const bytes = 20 * 1024 * 1024
    const { stdout } = await run(
      twoHops(),
      `head -c ${bytes} /dev/zero | tr '\\0' x | cksum; head -c ${bytes} /dev/zero | wc -c`,
    )
    assert.match(stdout, new RegExp(`${bytes}$`, 'm'))
    const context = operationContext(worker, twoHops())
    const { stdout_bytes } = await runCommand(context, { command: `head -c ${bytes} /dev/zero` })
    assert.equal(stdout_bytes, bytes)
    const stdin = 'line\n'.repeat(400_000)
    const back = await runCommand(operationContext(worker, twoHops()), { command: 'wc -c', stdin })
    assert.equal(back.stdout.trim(), String(stdin.length))
  })

  test('counts all its connections, and closes them all', async () => {
    const open = () => Object.values(servers).map((server) => server.connections().length)
    const before = open()
    const connection = await connect(twoHops())
    assert.equal(connection.sockets, 3)
    assert.ok(connection.alive())
    await connection.close()
    await connection.gone
    assert.ok(await until(() => open().every((count, place) => count <= (before[place] ?? 0))), String(open()))
  })

  test('SSH-05: counts each of its connections against the cap of all', async () => {
    const counted: ConnectionCount = { open: 0, most: 0 }
    const proxies = await Promise.all(Object.values(servers).map((server) => startTcpProxy(server, counted)))
    const [toFirst, toSecond, toLast] = proxies.map(({ port }) => port)
    const alias = (server: Sshd) => `[127.0.0.1]:${server.port}`
    const target = twoHops({
      first: { port: toFirst, host_key_alias: alias(servers.first) },
      second: { port: toSecond, host_key_alias: alias(servers.second) },
      last: { port: toLast, host_key_alias: alias(servers.last) },
    })
    const room = { connect_timeout: 20, max_connections_per_host: 3 }
    const three = await startWorker({
      settings: { ...room, max_connections: 3, max_channels_per_connection: 1, pool_backpressure: 'wait' },
    })
    const two = await startWorker({ settings: { max_connections: 2 } })
    try {
      // One channel per connection: without the cap, each of them would get a connection of its own.
      const done = await Promise.all(Array.from({ length: 4 }, () => run(target, 'sleep 0.2; echo done', three)))
      assert.deepEqual([...new Set(done.map(({ stdout }) => stdout))], ['done\n'])
      assert.deepEqual([proxies.map((proxy) => proxy.most()), counted.most], [[1, 1, 1], 3])
      const { connections, sockets } = three.pool.stats()
      assert.deepEqual({ connections, sockets }, { connections: 1, sockets: 3 })
      const refusal = failure('MHV_SSH_JUMP_INVALID', /takes 3 connections, and ssh\.max_connections is 2$/)
      await assert.rejects(run(target, 'echo done', two), refusal)
    } finally {
      await Promise.all([three.close(), two.close()])
      await Promise.all(proxies.map((proxy) => proxy.close()))
    }
  })

  test('ends what runs over it, honestly, when a jump host goes', async () => {
    const gate = await startSshd()
    const target = linked(targetOf(servers.last, { proxy_jump: 'gate' }), { gate: targetOf(gate) })
    // Nobody can reach it to end it then: it ends by itself, as it writes to nobody.
    const sink = memorySink()
    const context = operationContext(worker, target, { sink })
    const running = runCommand(context, { command: 'while echo alive; do sleep 0.1; done' })
    const ended = assert.rejects(running, failure('MHV_SSH_CONNECTION_LOST'))
    assert.ok(await until(() => sink.bytes('stdout').includes('alive'), 20_000), 'the command runs')
    await gate.stop(true)
    await ended
    await assert.rejects(run(target), failure('MHV_SSH_CONNECT_REFUSED', /^jump host 1 of 1 \(127\.0\.0\.1:[0-9]+\): /))
    await rm(gate.folder, { recursive: true })
  })

  test('is one that a jump host has to allow', async () => {
    const closed = await startSshd({ config: ['AllowTcpForwarding no'] })
    try {
      const target = linked(targetOf(servers.last, { proxy_jump: 'gate' }), { gate: targetOf(closed) })
      await assert.rejects(run(target), failure('MHV_SSH_JUMP_REFUSED', /^behind 1 jump host: .*does not lead on/))
    } finally {
      await closed.stop()
    }
  })

  test('says which host it was', async () => {
    const wrong = join(servers.first.folder, 'wrong')
    await makeKey(wrong, 'ed25519')
    await assert.rejects(
      run(twoHops({ second: { identity_files: [wrong] } })),
      failure('MHV_SSH_AUTH_FAILED', new RegExp(`^jump host 2 of 2 \\(127.0.0.1:${servers.second.port}\\): `)),
    )
    await assert.rejects(
      run(twoHops({ last: { port: await freePort() } })),
      failure(
        'MHV_SSH_CONNECT_REFUSED',
        /^behind 2 jump hosts: the jump host 127.0.0.1:[0-9]+ could not connect to it/,
      ),
    )
  })

  test('leads in no circle and is no longer than eight', async () => {
    const box = (proxy_jump: SshTarget['proxy_jump']) => targetOf(servers.first, { proxy_jump })
    assert.throws(
      () => linked(box('a'), { a: box('b'), b: box('a') }),
      failure('MHV_SSH_JUMP_INVALID', /a, then b, then a/),
    )
    const names = Array.from({ length: 10 }, (_, n) => `t${n}`)
    const chain = Object.fromEntries(names.map((name, n) => [name, box(names[n + 1])]))
    assert.throws(() => linked(box('t0'), chain), failure('MHV_SSH_JUMP_INVALID', /more than 8/))
    await assert.rejects(run(targetOf(servers.first, { proxy_jump: `root@127.0.0.1:${servers.first.port}` })), {
      code: 'MHV_SSH_JUMP_INVALID',
    })
  })
})

suite('SSH-08: the key of every host on the way is verified', { skip }, () => {
  const takesAll: ConnectParts['judge'] = (_files, _names, key) => ({
    kind: 'known',
    type: 'any',
    fingerprint: fingerprintOf(key),
  })
  const fingerprint = (server: Sshd) =>
    fingerprintOf(
      Buffer.from(readFileSync(`${server.hostKey('ed25519')}.pub`, 'utf8').split(' ')[1] as string, 'base64'),
    )

  for (const [hop, where] of [
    ['first', /^jump host 1 of 2 /],
    ['second', /^jump host 2 of 2 /],
    ['last', /^behind 2 jump hosts: /],
  ] as const) {
    /** The host has the line of another one: its own name, another server's key. */
    async function impostor(): Promise<SshTarget> {
      const server = servers[hop]
      const other = hop === 'first' ? servers.second : servers.first
      const file = join(server.folder, 'impostor')
      await writeFile(file, other.knownHosts.replaceAll(String(other.port), String(server.port)))
      return twoHops({ [hop]: { known_hosts: [file] } })
    }

    test(`a changed key of the ${hop} one ends it before any credential`, async () => {
      const before = await accepted(servers[hop])
      await assert.rejects(connect(await impostor()), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'MHV_SSH_HOST_KEY_CHANGED', error.message)
        assert.match(error.message, where)
        assert.ok(error.message.includes(fingerprint(servers[hop])))
        return true
      })
      assert.equal(await accepted(servers[hop]), before)
    })

    test(`an unknown key of the ${hop} one does`, async () => {
      const before = await accepted(servers[hop])
      const file = join(servers[hop].folder, 'empty')
      await writeFile(file, '')
      const target = twoHops({ [hop]: { known_hosts: [file] } })
      await assert.rejects(connect(target), failure('MHV_SSH_HOST_KEY_UNKNOWN', where))
      assert.equal(await accepted(servers[hop]), before)
    })

    test(`negative control: a verifier that takes every key lets an impostor of the ${hop} one in`, async () => {
      const before = await accepted(servers[hop])
      const connection = await connect(await impostor(), { judge: takesAll })
      await connection.close()
      assert.equal(await accepted(servers[hop]), before + 1)
    })
  }

  test('the known_hosts of one hop does not vouch for another', async () => {
    // The first host's file knows the second one's name, with the key that the second one has: it is not asked.
    const file = join(servers.first.folder, 'both')
    await writeFile(file, servers.first.knownHosts + servers.second.knownHosts)
    const empty = join(servers.first.folder, 'empty')
    await writeFile(empty, '')
    await assert.rejects(
      connect(twoHops({ first: { known_hosts: [file] }, second: { known_hosts: [empty] } })),
      failure('MHV_SSH_HOST_KEY_UNKNOWN', /^jump host 2 of 2/),
    )
  })
})

suite('credentials and agents on the way', { skip }, () => {
  test('a hop has its own credentials, not those of the target', async () => {
    const known = await startWorker({ settings: { known_hosts: [servers.first.knownHostsFile] } })
    const named = targetOf(servers.last, { proxy_jump: `root@127.0.0.1:${servers.first.port}` })
    await assert.rejects(
      run(named, 'true', known),
      failure('MHV_SSH_AUTH_FAILED', /^jump host 1 of 1 .*no credentials/),
    )
    await known.close()
    const bare = linked(targetOf(servers.last, { proxy_jump: 'gate' }), {
      gate: targetOf(servers.first, { identity_files: [] }),
    })
    await assert.rejects(run(bare), failure('MHV_SSH_AUTH_FAILED', /^jump host 1 of 1 .*names no credentials/))
  })

  test('an agent is handed to the target only where it allows that, and never to a jump host', async () => {
    await agent.add(servers.last.userKey)
    const seen = 'test -n "$SSH_AUTH_SOCK" && ssh-add -L | cut -c-11'
    const way = { agent: agent.socket }
    assert.equal((await run(twoHops({ first: way, second: way, last: way }), `${seen} || echo none`)).stdout, 'none\n')
    const forwarding = { agent: agent.socket, agent_forward: true }
    const target = twoHops({ first: forwarding, second: forwarding, last: forwarding })
    assert.equal((await run(target, seen)).stdout, 'ssh-ed25519\n')
    for (const hop of [servers.first, servers.second]) {
      assert.ok(!(await hop.log()).includes('auth-agent-req'), 'no forwarding was asked of a jump host')
    }
    const closed = await startSshd({ config: ['AllowAgentForwarding no'] })
    try {
      await agent.add(closed.userKey)
      await assert.rejects(run(targetOf(closed, forwarding), seen), failure('MHV_SSH_FORWARD_REFUSED'))
    } finally {
      await closed.stop()
    }
  })
})

suite('ssh_config on the way', { skip }, () => {
  test('an alias, its jump hosts, keys and known_hosts come from the file; the inventory wins', async () => {
    const config = join(servers.first.folder, 'ssh_config')
    const host = (name: string, server: Sshd, ...more: string[]) =>
      [
        `Host ${name}`,
        '  HostName 127.0.0.1',
        `  Port ${server.port}`,
        `  User ${server.user}`,
        `  IdentityFile ${server.userKey}`,
        `  IdentityFile ${server.folder}/not-there`,
        `  UserKnownHostsFile ${server.knownHostsFile}`,
        ...more.map((line) => `  ${line}`),
      ].join('\n')
    const text = [
      host('inner', servers.last, 'ProxyJump gate-2'),
      host('gate-2', servers.second, 'ProxyJump gate-1'),
      host('gate-1', servers.first),
      'Host commanded\n  HostName 127.0.0.1\n  User root\n  ProxyCommand touch /never\n',
      'Host *\n  ServerAliveInterval 5\n',
    ].join('\n')
    await writeFile(config, text, { mode: 0o600 })
    const configured = await startWorker({ settings: { config_files: [config] } })
    try {
      const { stdout } = await run({ host: 'inner' } as SshTarget, undefined, configured)
      assert.match(stdout, new RegExp(` ${servers.last.port}$`, 'm'))
      const direct = await run({ host: 'inner', proxy_jump: 'none' } as SshTarget, undefined, configured)
      assert.match(direct.stdout, new RegExp(` ${servers.last.port}$`, 'm'))
      await assert.rejects(
        run({ host: 'inner', user: 'nobody-here' } as SshTarget, undefined, configured),
        failure('MHV_SSH_AUTH_FAILED', /nobody-here@127.0.0.1/),
      )
      await assert.rejects(
        run({ host: 'commanded' } as SshTarget, undefined, configured),
        failure('MHV_SSH_CONFIG_INVALID', /ssh_config:[0-9]+: ProxyCommand is not run/),
      )
      await assert.rejects(
        run({ host: '127.0.0.1' } as SshTarget, undefined, configured),
        failure('MHV_SSH_CONFIG_INVALID', /names a user/),
      )
    } finally {
      await configured.close()
    }
  })
})
