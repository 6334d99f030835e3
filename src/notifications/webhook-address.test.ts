import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { describe, test } from 'node:test'
import { toMhvError } from '../core/errors.ts'
import { guardedLookup, webhookUrl } from './webhook-address.ts'

describe('where a webhook may go', () => {
  const allowed = [
    'https://ops.example.com/hook?team=1',
    'https://10.0.0.7:8443/hook',
    'https://[fd00::7]/hook',
    'http://127.0.0.1:9000/hook',
    'http://127.9.9.9/hook',
    'http://[::1]:9000/hook',
    'http://localhost:9000/hook',
  ]
  for (const url of allowed) test(`allowed: ${url}`, () => assert.equal(webhookUrl(url).href, new URL(url).href))

  const refused = [
    'http://ops.example.com/hook',
    'http://10.0.0.7/hook',
    'http://localhost.example.com/hook',
    'http://0.0.0.0/hook',
    'https://0/hook',
    'https://169.254.169.254/latest/meta-data',
    'https://0xa9fea9fe/',
    'https://[::ffff:169.254.169.254]/',
    'https://[fe80::1]/',
    'https://[::]/',
    'https://224.0.0.1/',
    'https://user:password@ops.example.com/',
    'https://user@ops.example.com/',
    'ftp://ops.example.com/',
    'file:///etc/passwd',
    'not a url',
    '',
  ]
  for (const url of refused) {
    test(`refused: ${url || '(nothing)'}`, () => {
      assert.throws(
        () => webhookUrl(url),
        (error) => {
          const { code, message } = toMhvError(error)
          return code === 'MHV_NOTIFY_ADDRESS' && !message.includes('password') && !message.includes('meta-data')
        },
      )
    })
  }
})

describe('name resolution before a connection', () => {
  function resolve(plain: boolean, hostname: string, all: boolean) {
    return new Promise<string | LookupAddress[]>((accept, reject) => {
      guardedLookup(plain)(hostname, { all }, (error, address) => (error ? reject(error) : accept(address)))
    })
  }

  test('gives the addresses of this machine, one or all', async () => {
    assert.match(String(await resolve(true, 'localhost', false)), /^(127\.0\.0\.1|::1)$/)
    assert.equal(Array.isArray(await resolve(false, 'localhost', true)), true)
  })

  test('refuses a name that leads to an address that no receiver has', async () => {
    // A literal resolves to itself: the same path as a name that does.
    await assert.rejects(resolve(false, '169.254.169.254', true), { code: 'MHV_NOTIFY_ADDRESS' })
    await assert.rejects(resolve(false, '::ffff:169.254.169.254', true), { code: 'MHV_NOTIFY_ADDRESS' })
    await assert.rejects(resolve(true, '10.0.0.7', true), { code: 'MHV_NOTIFY_ADDRESS' })
  })

  test('tells when there is no such name', async () => {
    await assert.rejects(resolve(false, 'nowhere.invalid', true), { code: /ENOTFOUND|EAI_AGAIN/ })
  })
})
