import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { lookAtConfig } from './findings.ts'

const folder = mkdtempSync(join(tmpdir(), 'mhv-ssh-findings-'))
after(() => rmSync(folder, { recursive: true }))

test('what is not understood is told with file and line; what is understood is not', async () => {
  const path = join(folder, 'config')
  const included = join(folder, 'more')
  const text = [
    'Host web-*',
    '  HostName %h.example',
    '  ProxyCommand nc %h %p',
    'Host direct',
    '  ProxyCommand none',
    '  ServerAliveInterval 5',
    `Include ${included}`,
    'Match user root',
    'Match all',
    '  User "open',
  ].join('\n')
  writeFileSync(path, text, { mode: 0o600 })
  writeFileSync(included, 'ForwardX11 yes\n', { mode: 0o600 })
  const { files, findings } = await lookAtConfig([path, join(folder, 'missing'), folder])
  assert.equal(files, 2)
  assert.deepEqual(
    findings.map(({ place, message }) => `${place.replace(folder, '')} ${message}`),
    [
      '/config:3 ProxyCommand is never run: such hosts need proxy_jump in the inventory',
      '/config:6 ServerAliveInterval has no effect here',
      '/more:1 ForwardX11 has no effect here',
      '/config:8 Match user: conditions are not looked at, the block is passed over',
      '/config:10 User has a quote that is not closed',
      ' is no regular file',
    ],
  )
})
