import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { isSafe, nativeCrypto, ssh2 } from './ssh2-library.ts'

const require = createRequire(import.meta.url)

test('an addon with the cleanup hook of Node 24.19 is not run on a Node that it would crash', () => {
  const hooked = Buffer.from('…_ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_…')
  const plain = Buffer.from('…_ZN2v87Isolate10GetCurrentEv…')
  for (const version of ['24.0.0', '24.18.0', '24.21.0', '26.0.0', '26.3.1']) {
    assert.equal(isSafe(hooked, version), false, version)
    assert.equal(isSafe(plain, version), true, version)
  }
  for (const version of ['26.4.0', '27.0.0']) assert.equal(isSafe(hooked, version), true, version)
})

test('ssh2 is loaded, with its native cryptography where that is safe', () => {
  assert.equal(typeof ssh2.Client, 'function')
  assert.equal(require('ssh2/lib/protocol/crypto.js').bindingAvailable, nativeCrypto === 'used')
})

test('ciphers that are collected do not end the process', () => {
  // They are made and dropped, and the collector runs by itself, outside of JavaScript too: there it crashed.
  const program = `
    const { ssh2, nativeCrypto } = await import(${JSON.stringify(new URL('./ssh2-library.ts', import.meta.url).href)})
    const { createCipher, CIPHER_INFO } = (await import('node:module')).createRequire(${JSON.stringify(import.meta.url)})('ssh2/lib/protocol/crypto.js')
    const key = Buffer.alloc(16), iv = Buffer.alloc(12)
    let rounds = 0
    const round = () => {
      for (let n = 0; n < 500; n++) {
        createCipher({ outbound: { seqno: 0, onWrite() {},
          cipherInfo: CIPHER_INFO['aes128-gcm@openssh.com'], cipherIV: Buffer.from(iv), cipherKey: key } }).free()
      }
      const junk = Array.from({ length: 20000 }, (_, i) => ({ i }))
      if (++rounds < 60) setImmediate(round)
      else console.log('alive', junk.length)
    }
    round()`
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  })
  assert.deepEqual({ stdout, status }, { stdout: 'alive 20000\n', status: 0 }, stderr)
})
