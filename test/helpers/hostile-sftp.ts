import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ssh2, { type ServerChannel } from 'ssh2'

/** A fake: an SSH server that lets everybody in, and whose SFTP answers are made by the test. */
export interface HostileSftp {
  readonly port: number
  /** File with the server's host key, as known_hosts has it. */
  readonly knownHosts: string
  stop(): Promise<void>
}

/** One request of the client: type and id of draft-ietf-secsh-filexfer-02, and what follows them. */
export interface SftpPacket {
  readonly type: number
  readonly id: number
  readonly body: Buffer
}

/** Answers one packet with whatever bytes it likes; `end` closes the channel. */
export type Answer = (packet: SftpPacket, send: (bytes: Buffer) => void, end: () => void) => void

export const FXP = { INIT: 1, VERSION: 2, STATUS: 101, HANDLE: 102, DATA: 103, NAME: 104, ATTRS: 105 } as const

/** `answers` is asked for every session: it makes what answers that one. */
export async function startHostileSftp(answers: () => Answer): Promise<HostileSftp> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-hostile-'))
  const key = hostKey()
  const server = new ssh2.Server({ hostKeys: [key.private] }, (client) => {
    client.on('error', () => undefined)
    client.on('authentication', (request) => request.accept())
    client.on('session', (accept) => {
      const session = accept()
      // The question for the login shell.
      session.on('exec', (acceptExec, _reject, { command }) => {
        const channel = acceptExec()
        channel.on('error', () => undefined)
        const [, marker] = /^echo (\S+) \$SHELL/.exec(command) ?? []
        if (marker !== undefined) channel.write(`${marker} /bin/sh\n${marker} + yes\n`)
        channel.exit(0)
        channel.end()
      })
      session.on(
        'subsystem' as never,
        ((acceptSubsystem: () => ServerChannel) => {
          serve(acceptSubsystem(), answers())
        }) as never,
      )
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const knownHosts = join(folder, 'known_hosts')
  await writeFile(knownHosts, `[127.0.0.1]:${port} ${key.public.split(' ').slice(0, 2).join(' ')}\n`)
  return {
    port,
    knownHosts,
    async stop() {
      const closed = once(server, 'close')
      server.close()
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 500))])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Some of the keys that ssh2 makes it cannot read itself. */
function hostKey() {
  for (;;) {
    const key = ssh2.utils.generateKeyPairSync('ed25519')
    if (!(ssh2.utils.parseKey(key.private) instanceof Error)) return key
  }
}

function serve(channel: ServerChannel, answer: Answer): void {
  channel.on('error', () => undefined)
  let open = true
  channel.on('close', () => {
    open = false
  })
  const send = (bytes: Buffer) => {
    if (open) channel.write(bytes)
  }
  let left: Buffer = Buffer.alloc(0)
  channel.on('data', (bytes: Buffer) => {
    left = Buffer.concat([left, bytes])
    while (left.length >= 5 && left.length >= 4 + left.readUInt32BE(0)) {
      const length = left.readUInt32BE(0)
      const packet = left.subarray(4, 4 + length)
      left = left.subarray(4 + length)
      const type = packet[0] as number
      const id = packet.length >= 5 ? packet.readUInt32BE(1) : 0
      answer({ type, id, body: packet.subarray(5) }, send, () => channel.close())
    }
  })
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

export const text = (value: string | Buffer) => Buffer.concat([uint32(Buffer.byteLength(value)), Buffer.from(value)])

/** With its right length in front. */
export function packet(type: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from([type]), ...parts])
  return Buffer.concat([uint32(body.length), body])
}

export const version = (...extensions: readonly string[]) =>
  packet(FXP.VERSION, uint32(3), ...extensions.flatMap((name) => [text(name), text('1')]))

export const status = (id: number, code: number, message = '') =>
  packet(FXP.STATUS, uint32(id), uint32(code), text(message), text(''))

/** Attributes with size, mode and times. */
export function attributes({ size = 0, mode = 0o100644, mtime = 0 } = {}): Buffer {
  const high = uint32(Math.floor(size / 2 ** 32))
  return Buffer.concat([uint32(0x1 | 0x4 | 0x8), high, uint32(size), uint32(mode), uint32(mtime), uint32(mtime)])
}

export function names(id: number, entries: readonly (readonly [name: string | Buffer, mode: number])[]): Buffer {
  const parts = entries.flatMap(([name, mode]) => [text(name), text('long'), attributes({ mode, size: 3 })])
  return packet(FXP.NAME, uint32(id), uint32(entries.length), ...parts)
}
