import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import {
  type Answer,
  attributes,
  FXP,
  names,
  packet,
  type SftpPacket,
  startHostileSftp,
  status,
  text,
  uint32,
  version,
} from '../helpers/hostile-sftp.ts'

/** An SFTP server that answers what no honest one does. The client runs in a process of its own. */

interface Outcome {
  readonly round: number
  readonly name: string
  readonly ok: boolean
  readonly code?: string
  readonly late_ms: number
  readonly rss: number
}

/** A generator of numbers that gives the same ones for the same seed: mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const DIRECTORY = 0o040755

/** What the fuzzer may answer to a request, by the name that a failure is told with. */
const ANSWERS: Readonly<Record<string, (asked: SftpPacket, pick: (below: number) => number) => Buffer>> = {
  ok: ({ id }) => status(id, 0),
  eof: ({ id }) => status(id, 1),
  missing: ({ id }) => status(id, 2),
  failure: ({ id }) => status(id, 4, '\x1b[31mred\nnext line'),
  'status unheard of': ({ id }, pick) => status(id, pick(2 ** 31)),
  handle: ({ id }) => packet(FXP.HANDLE, uint32(id), text('h')),
  'long handle': ({ id }) => packet(FXP.HANDLE, uint32(id), text(Buffer.alloc(100_000))),
  attributes: ({ id }) => packet(FXP.ATTRS, uint32(id), attributes({ mode: DIRECTORY })),
  'endless attributes': ({ id }) => packet(FXP.ATTRS, uint32(id), uint32(0xffffffff), Buffer.alloc(40, 0xff)),
  'no attributes': ({ id }) => packet(FXP.ATTRS, uint32(id), uint32(0)),
  'impossible size': ({ id }) => packet(FXP.ATTRS, uint32(id), uint32(1), Buffer.alloc(8, 0xff)),
  names: ({ id }) =>
    names(id, [
      ['..', DIRECTORY],
      ['../../etc/passwd', 0o100644],
      ['/etc', DIRECTORY],
      ['', DIRECTORY],
      ['x\0y', DIRECTORY],
      [Buffer.from([0xff, 0xfe]), 0o100644],
      ['folder', DIRECTORY],
    ]),
  'too many names': ({ id }) => packet(FXP.NAME, uint32(id), uint32(0xffffffff), text('x')),
  'no names': ({ id }) => packet(FXP.NAME, uint32(id), uint32(0)),
  data: ({ id }) => packet(FXP.DATA, uint32(id), text(Buffer.alloc(300_000))),
  'short data': ({ id }) => packet(FXP.DATA, uint32(id), uint32(1_000), Buffer.alloc(3)),
  'another id': ({ id }) => status(id + 1_000, 0),
  'a type that there is not': ({ id }) => packet(77, uint32(id)),
  'an empty packet': () => uint32(0),
  'a packet of 4 GB': () => Buffer.concat([uint32(0xfffffff0), Buffer.alloc(50)]),
  'half a packet': ({ id }) => packet(FXP.NAME, uint32(id), uint32(5)).subarray(0, 9),
  twice: ({ id }) => Buffer.concat([status(id, 0), status(id, 4)]),
  noise: (_asked, pick) => Buffer.from(Array.from({ length: pick(60) }, () => pick(256))),
}

function fuzz(pick: (below: number) => number): Answer {
  const kinds = Object.values(ANSWERS)
  return (asked, send, end) => {
    if (asked.type === FXP.INIT) {
      if (pick(8) > 0) return send(version('posix-rename@openssh.com', 'fsync@openssh.com', 'statvfs@openssh.com'))
      if (pick(2) === 0) return send(packet(FXP.VERSION, uint32(pick(9)), text('x'), uint32(0xffff)))
    }
    const chosen = pick(kinds.length + 3)
    if (chosen === kinds.length) return end()
    if (chosen === kinds.length + 1) return
    // Sometimes as an honest server would, so that the fuzzer gets further.
    if (chosen === kinds.length + 2) return send(honest(asked))
    send((kinds[chosen] as (typeof kinds)[number])(asked, pick))
  }
}

/** Something that fits the request: STAT and LSTAT, OPENDIR and OPEN, READDIR. */
function honest(asked: SftpPacket): Buffer {
  if (asked.type === 17 || asked.type === 7) return packet(FXP.ATTRS, uint32(asked.id), attributes({ mode: DIRECTORY }))
  if (asked.type === 11 || asked.type === 3) return packet(FXP.HANDLE, uint32(asked.id), text('h'))
  if (asked.type === 12) return names(asked.id, [['inner', DIRECTORY]])
  return status(asked.id, 0)
}

async function ask(answers: () => Answer, rounds: number) {
  const local = await mkdtemp(join(tmpdir(), 'mhv-hostile-local-'))
  const server = await startHostileSftp(answers)
  try {
    const file = new URL('../fixtures/hostile-sftp-client.ts', import.meta.url).pathname
    const args = [file, String(server.port), server.knownHosts, join(local, 'root'), String(rounds)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      out += piece
    })
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      err += piece
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), 100_000)
    const [code] = (await once(child, 'close')) as [number | null]
    clearTimeout(timer)
    const outcomes = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Outcome)
    return { code, err, outcomes, outside: (await readdir(local)).filter((name) => name !== 'root') }
  } finally {
    await server.stop()
    await rm(local, { recursive: true, force: true })
  }
}

function assertSound({ code, err, outcomes, outside }: Awaited<ReturnType<typeof ask>>): void {
  assert.equal(code, 0, `the client ended with ${code}: ${err}`)
  assert.deepEqual(outside, [], 'nothing is written outside the root')
  for (const outcome of outcomes) {
    const shown = JSON.stringify(outcome)
    assert.ok(outcome.ok || /^MHV_(?!INTERNAL)/.test(outcome.code ?? ''), shown)
    // A transfer has two seconds to remove what it has begun.
    assert.ok(outcome.late_ms < (/load/.test(outcome.name) ? 4_000 : 2_000), shown)
    assert.ok(outcome.rss < 400 * 1024 * 1024, shown)
  }
}

suite('SSH-11: an SFTP server that lies', () => {
  test('fuzzed answers cause an error of the table before the deadline, never a crash', {
    timeout: 120_000,
  }, async (t) => {
    const seed = Number(process.env.MHV_SEED ?? Date.now() % 1_000_000)
    t.diagnostic(`MHV_SEED=${seed}`)
    const pick = random(seed)
    const result = await ask(() => fuzz(pick), Number(process.env.MHV_ROUNDS ?? 8))
    assertSound(result)
    assert.ok(result.outcomes.some(({ ok }) => !ok))
  })

  test('a tree without an end, and a folder without an end, end at the deadline or before', {
    timeout: 60_000,
  }, async () => {
    const deep = await ask(() => (asked, send) => send(asked.type === FXP.INIT ? version() : honestTree(asked)), 1)
    assertSound(deep)
    const list = deep.outcomes.find(({ name }) => name === 'list')
    assert.ok(
      list !== undefined && (list.code === 'MHV_SSH_SFTP_HOSTILE' || list.code === 'MHV_RUN_TIMEOUT' || list.ok),
    )
    const wide = await ask(() => (asked, send) => send(asked.type === FXP.INIT ? version() : honest(asked)), 1)
    assertSound(wide)
  })
})

const listed = new Set<string>()

/** Every folder has one folder in it. */
function honestTree(asked: SftpPacket): Buffer {
  if (asked.type !== 12) return honest(asked)
  const handle = asked.body.toString('latin1')
  if (listed.delete(handle)) return status(asked.id, 1)
  listed.add(handle)
  return names(asked.id, [['inner', DIRECTORY]])
}
