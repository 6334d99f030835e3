/**
 * The peer of `ssh.execute`: ssh2 by itself, the way its own documentation uses it, over sockets without delay. It
 * collects what a command prints and its exit code, and does nothing else: no limits, no deadline, no journal. `durable`
 * adds the least journal there can be, a commit before each command and one after it.
 */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Client } from 'ssh2'
// The library as our worker loads it: with the native ciphers where it dares to use them, so that both sides do.
import { ssh2 } from '../../src/workers/ssh/ssh2-library.ts'
import { closedLoop, type LoadResult } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'
import { type BareJournal, type BareJournalOptions, openBareJournal, type RowId } from './bare-journal.ts'

export interface RawSsh2Options {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly identityFile: string
  readonly cipher: string
}

export interface CommandLoad {
  readonly command: string
  /** What each of them has to print. */
  readonly expected: string
  readonly count: number
  readonly concurrency: number
}

interface Connection {
  readonly client: Client
  channels: number
}

const connections: Connection[] = []
let journal: BareJournal | undefined

function open({ host, port, user, identityFile, cipher }: RawSsh2Options): Promise<Client> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    const sock = connect({ host, port, noDelay: true })
    sock.once('error', reject)
    client.once('error', reject)
    client.once('ready', () => resolve(client))
    sock.once('connect', () => {
      const privateKey = readFileSync(identityFile)
      client.connect({ sock, username: user, privateKey, algorithms: { cipher: [cipher as 'aes128-gcm@openssh.com'] } })
    })
  })
}

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function exec(client: Client, command: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) return reject(error)
      const stdout: Buffer[] = []
      const stderr: Buffer[] = []
      let code: number | null = null
      channel.on('data', (bytes: Buffer) => stdout.push(bytes))
      channel.stderr.on('data', (bytes: Buffer) => stderr.push(bytes))
      channel.on('exit', (status: number | null) => {
        code = status
      })
      channel.on('close', () => {
        resolve({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() })
      })
      channel.end()
    })
  })
}

/** The connection with the fewest channels: commands are spread as evenly as they can be. */
function leastBusy(): Connection {
  const [first, ...others] = connections
  if (first === undefined) throw new Error('no connection')
  return others.reduce((best, each) => (each.channels < best.channels ? each : best), first)
}

async function runOne({ command, expected }: CommandLoad): Promise<void> {
  const connection = leastBusy()
  connection.channels += 1
  try {
    const { code, stdout, stderr } = await exec(connection.client, command)
    if (code !== 0 || stdout !== expected) throw new Error(`exit ${code}: ${stdout}${stderr}`)
  } finally {
    connection.channels -= 1
  }
}

const methods = {
  /** Opens connections until there are so many, one after the other. */
  async open({ count, ...options }: RawSsh2Options & { count: number }): Promise<void> {
    while (connections.length < count) connections.push({ client: await open(options), channels: 0 })
  },
  async openJournal(options: BareJournalOptions): Promise<void> {
    journal = openBareJournal(options)
  },
  load(load: CommandLoad): Promise<LoadResult> {
    return closedLoop(load, () => runOne(load))
  },
  durable(load: CommandLoad): Promise<LoadResult> {
    if (journal === undefined) throw new Error('it has no journal yet')
    const kept = journal
    const rows = kept.beginRows(load.count)
    return closedLoop(load, async (index) => {
      let id: RowId = 0
      kept.transaction(() => {
        id = kept.beginRun(rows[index] ?? [])
      })
      await runOne(load)
      kept.transaction(() => kept.finishRun(id))
    })
  },
}

export type RawSsh2 = typeof methods

serveSide(methods, async () => {
  journal?.close()
  for (const { client } of connections) client.end()
})
