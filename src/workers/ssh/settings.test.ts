import assert from 'node:assert/strict'
import { homedir } from 'node:os'
import { test } from 'node:test'
import { z } from 'zod'
import { localPath } from './local-path.ts'
import { sshSettings, sshTarget } from './settings.ts'

test('every setting has a default and a description', () => {
  const settings = sshSettings.parse({})
  for (const [name, field] of Object.entries(sshSettings.shape)) {
    assert.ok(Object.hasOwn(settings, name), name)
    assert.ok(z.globalRegistry.get(field)?.description, name)
  }
  assert.equal(settings.max_channels_per_connection, 8)
  assert.equal(settings.host_key_policy, 'strict')
  assert.equal(settings.ciphers[0], 'aes128-gcm@openssh.com')
})

test('values that make no sense are refused', () => {
  for (const wrong of [
    { max_channels_per_connection: 65 },
    { max_channels_per_connection: 0 },
    { connect_timeout: 0 },
    { host_key_policy: 'off' },
    { ciphers: [] },
    { ciphers: ['arcfour'] },
    { known_hosts: ['a\0b'] },
  ]) {
    assert.equal(sshSettings.safeParse(wrong).success, false, JSON.stringify(wrong))
  }
})

test('a host that could be an option, a pattern, or several things is refused', () => {
  for (const host of [
    '-oProxyCommand=x',
    '',
    ' a',
    'a b',
    'a\nb',
    'a\0b',
    'user@host',
    'host/path',
    '*',
    'a,b',
    '!a',
    'a?',
    '|1|x',
    'a\x7f',
  ]) {
    assert.equal(sshTarget.safeParse({ host, user: 'u' }).success, false, JSON.stringify(host))
    assert.equal(
      sshTarget.safeParse({ host: 'h', host_key_alias: host, user: 'u' }).success,
      false,
      JSON.stringify(host),
    )
  }
  for (const host of [
    'web-1',
    'web-1.example.org',
    '10.0.0.1',
    '::1',
    'fe80::1%eth0',
    'bücher.example',
    '_sip.example',
  ]) {
    assert.equal(sshTarget.safeParse({ host, user: 'u' }).success, true, host)
  }
})

test('users, ports and references are checked', () => {
  for (const wrong of [
    { user: '-l' },
    { user: 'a\nb' },
    { user: '' },
    { port: 0 },
    { port: 65_536 },
    { password: 'plain text' },
    { agent: '' },
  ]) {
    assert.equal(sshTarget.safeParse({ host: 'h', user: 'u', ...wrong }).success, false, JSON.stringify(wrong))
  }
  const target = sshTarget.parse({
    host: 'h',
    user: 'u',
    password: 'env:P',
    passphrase: { exec: ['pass', 'show', 'x'] },
    agent: true,
  })
  assert.deepEqual([target.port, target.identity_files, target.agent], [undefined, undefined, true])
})

test('paths of the settings', () => {
  assert.equal(localPath('~/.ssh/id', '/folder'), `${homedir()}/.ssh/id`)
  assert.equal(localPath('keys/id', '/folder'), '/folder/keys/id')
  assert.equal(localPath('/etc/id', '/folder'), '/etc/id')
  assert.equal(localPath('~', '/folder'), homedir())
  assert.equal(localPath('~other/id', '/folder'), '/folder/~other/id')
})
