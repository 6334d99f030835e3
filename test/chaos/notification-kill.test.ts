import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { openDeadLetterInstance } from '../fixtures/dead-letter-parts.ts'
import { probeFolder } from '../helpers/probe-composition.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../helpers/webhook-receiver.ts'

const CHILD = join(import.meta.dirname, '../fixtures/notification-child.ts')

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A folder whose only dead letter becomes poison with its next replay, which a webhook is told of. */
async function folderThatTells(): Promise<{ folder: string; letter_id: string; receiver: WebhookReceiver }> {
  const receiver = await startWebhookReceiver()
  closing.push(receiver.close)
  const folder = await probeFolder()
  const destinations = { ops: { webhook: receiver.url, secret: 'file:secrets/hook' } }
  const settings = { version: 1, dead_letters: { max_replays: 1 }, notifications: { destinations } }
  await writeFile(join(folder, 'settings', 'mahavishnu.yaml'), stringify(settings))
  await mkdir(join(folder, 'secrets'), { mode: 0o700 })
  await writeFile(join(folder, 'secrets', 'hook'), `${receiver.secret}\n`, { mode: 0o600 })
  const instance = await openDeadLetterInstance(folder)
  const { principal } = instance
  const envelope = { target: 'one' }
  const call = { operation: 'probe.deploy', input: { version: '7' }, envelope, principal, surface: 'embedded' }
  const { metadata } = await instance.invoke(call)
  await instance.close()
  assert.ok(metadata.dead_letter)
  return { folder, letter_id: metadata.dead_letter, receiver }
}

async function killAt(folder: string, letter_id: string, step: string): Promise<void> {
  const child = spawn(process.execPath, [CHILD, folder, letter_id, step], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)))
  assert.equal(signal, 'SIGKILL', stderr)
}

async function startAgain(folder: string, receiver: WebhookReceiver, count: number): Promise<void> {
  const instance = await openDeadLetterInstance(folder)
  try {
    await receiver.until(count)
  } finally {
    await instance.close()
  }
}

describe('notifications and kill -9', () => {
  test('killed between outbox and delivery: it is delivered by the next process', async () => {
    const { folder, letter_id, receiver } = await folderThatTells()
    await killAt(folder, letter_id, 'enqueued')
    await startAgain(folder, receiver, 1)
    const [only] = receiver.received
    assert.equal(only?.payload?.type, 'dead_letter_poison')
    assert.equal(only?.payload?.data.facts.letter_id, letter_id)
    await rm(folder, { recursive: true })
  })

  test('killed between delivery and its record: it comes again, with the same webhook-id, and then no more', async () => {
    const { folder, letter_id, receiver } = await folderThatTells()
    await killAt(folder, letter_id, 'delivered')
    assert.equal(receiver.received.length, 1)
    await startAgain(folder, receiver, 2)
    const [first, second] = receiver.received
    assert.equal(first?.id, second?.id)
    assert.deepEqual(first?.payload, second?.payload)
    assert.notEqual(second?.payload, null)
    await (await openDeadLetterInstance(folder)).close()
    assert.equal(receiver.received.length, 2)
    await rm(folder, { recursive: true })
  })

  test('told at the end of a process: it is delivered before the process goes', async () => {
    const { folder, letter_id, receiver } = await folderThatTells()
    const instance = await openDeadLetterInstance(folder)
    await instance.control({ name: 'dlq_replay', input: { letter_id }, principal: instance.principal })
    await instance.close()
    assert.equal(receiver.received.length, 1)
    assert.ok(receiver.received[0]?.payload)
    await rm(folder, { recursive: true })
  })
})
