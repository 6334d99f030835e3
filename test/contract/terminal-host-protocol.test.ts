import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { createFrameReader, FRAME, frameHeader, HEADER_BYTES } from '../../src/workers/terminal/host/frames.ts'
import { hostFiles, hostFolder } from '../../src/workers/terminal/host/host-folder.ts'
import { PROTOCOL } from '../../src/workers/terminal/host/protocol.ts'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { local, readText, type TerminalFolder, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

const LIMITS = { max_sessions: 9, memory_bytes: 1e9, idle_ms: 60_000, close_grace_ms: 500 }

let folder: TerminalFolder
let sessions: PtySessions
let witness: PtySession
before(async () => {
  folder = await terminalFolder()
  sessions = await folder.sessions()
  witness = await sessions.startLocal(local(['cat']))
})
after(() => folder?.end())

const files = () => hostFiles(hostFolder(folder.path))
const token = () => readFileSync(files().token, 'utf8')

interface Message {
  readonly kind: string
  readonly error?: { readonly code: string; readonly message: string }
}

/** A connection that says what a test wants it to. */
async function stranger() {
  const socket: Socket = connect(files().socket)
  const messages: Message[] = []
  const reader = createFrameReader(({ payload }) => messages.push(JSON.parse(new TextDecoder().decode(payload))))
  socket.on('data', (bytes) => reader.push(bytes))
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  return {
    socket,
    messages,
    closed,
    say(message: object | string) {
      const body = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message))
      socket.write(Buffer.concat([frameHeader(FRAME.control, 0, 0, body.length), body]))
    },
  }
}

const hello = (more: object = {}) => ({ kind: 'hello', protocol: PROTOCOL, token: token(), limits: LIMITS, ...more })

/** The sessions of the controller that is there go on as if nothing had been. */
async function assertUnmoved(): Promise<void> {
  assert.equal(witness.exit(), null)
  const { end } = await witness.read(0)
  await witness.write(Buffer.from('still here\r'))
  await waitUntil(async () => (await witness.read(0)).end > end, 5_000, 'the program answers')
}

test('who shows a wrong token, another version, or no greeting is told so, and is let in to nothing', async () => {
  const refused: readonly (readonly [object, string, RegExp])[] = [
    [hello({ token: 'x'.repeat(43) }), 'MHV_TERMINAL_HOST_DOWN', /token/],
    [hello({ token: '' }), 'MHV_TERMINAL_HOST_DOWN', /token/],
    [hello({ token: { length: 43 } }), 'MHV_TERMINAL_HOST_DOWN', /token/],
    // The token first: who does not have it learns nothing of versions and controllers.
    [hello({ token: 'wrong', protocol: 999 }), 'MHV_TERMINAL_HOST_DOWN', /token/],
    [hello({ protocol: PROTOCOL + 1 }), 'MHV_TERMINAL_HOST_VERSION', /version/],
    [hello(), 'MHV_TERMINAL_HOST_BUSY', /another controller/],
    [{ kind: 'request', id: 1, method: 'shutdown' }, 'MHV_TERMINAL_HOST_DOWN', /greeting/],
  ]
  for (const [message, code, why] of refused) {
    const one = await stranger()
    one.say(message)
    // What comes behind it is not looked at.
    one.say({ kind: 'request', id: 2, method: 'shutdown' })
    await one.closed
    assert.deepEqual(
      one.messages.map(({ kind, error }) => [kind, error?.code]),
      [['refused', code]],
    )
    assert.match(one.messages[0]?.error?.message ?? '', why)
    assert.ok(!JSON.stringify(one.messages).includes(token()))
  }
  await assertUnmoved()
})

test('what is no frame, no JSON, or too long ends the connection without an answer, and nothing else', async () => {
  const frame = (type: number, length: number, offset = 0) => {
    const header = Buffer.alloc(HEADER_BYTES)
    header.writeUInt32BE(length, 0)
    header.writeUInt8(type, 4)
    header.writeDoubleBE(offset, 9)
    return header
  }
  const said: readonly (readonly [string, Buffer])[] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['random bytes', Buffer.from(Array.from({ length: 4_096 }, (_, at) => (at * 131 + 7) % 256))],
    ['4 GiB', frame(FRAME.control, 0xffff_ffff)],
    ['more than a greeting', Buffer.concat([frame(FRAME.control, 8_192), Buffer.alloc(8_192, 0x20)])],
    ['no type', frame(99, 0)],
    ['no number', frame(FRAME.control, 2, Number.NaN)],
    ['no JSON', Buffer.concat([frame(FRAME.control, 4), Buffer.from('{{{{')])],
    ['no object', Buffer.concat([frame(FRAME.control, 4), Buffer.from('null')])],
    ['input before a greeting', Buffer.concat([frame(FRAME.input, 1), Buffer.from('x')])],
  ]
  for (const [name, bytes] of said) {
    const one = await stranger()
    one.socket.write(bytes)
    await one.closed
    assert.deepEqual(one.messages, [], name)
  }
  await assertUnmoved()
})

test('a controller that goes mad loses its connection, and its sessions are there for the next one', async () => {
  const { path } = folder
  await sessions.disconnect()
  for (const mad of [Buffer.alloc(64, 0xff), Buffer.concat([frameHeader(FRAME.output, 1, 0, 1), Buffer.from('x')])]) {
    const controller = await stranger()
    controller.say(hello())
    await waitUntil(() => controller.messages.length === 1, 5_000, 'it is welcome')
    assert.equal(controller.messages[0]?.kind, 'welcome')
    controller.say({ kind: 'request', id: 1, method: 'toString', params: {} })
    controller.say({ kind: 'request', id: 2, method: 'resize', params: null })
    await waitUntil(() => controller.messages.length === 3, 5_000, 'wrong requests are answered')
    assert.deepEqual(
      controller.messages.slice(1).map(({ kind }) => kind),
      ['error', 'error'],
    )
    controller.socket.write(mad)
    await controller.closed
  }
  assert.equal(folder.path, path)
  sessions = await folder.sessions()
  const found = sessions.list()[0] as PtySession
  assert.equal(found.info.id, witness.info.id)
  const output = readText(found)
  await found.write(Buffer.from('and goes on\r'))
  await waitUntil(() => output.text().includes('and goes on'), 5_000, 'the session goes on')
})
