import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { exec } from '../../src/core/exec.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { collect, local, type TerminalFolder, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

/** Lines of `seq`: 54.9 MB, and 61.9 MB as a terminal writes them, which ends each line with two characters. */
const LINES = 7_000_000

let folder: TerminalFolder
let sessions: PtySessions
let place = ''
let file = ''
let expected = { sha256: '', bytes: 0 }

before(async () => {
  folder = await terminalFolder()
  sessions = await folder.sessions()
  place = await mkdtemp(join(tmpdir(), 'mahavishnu-bytes-'))
  file = join(place, 'lines')
  const made = await exec({
    program: 'sh',
    args: ['-c', 'seq 1 "$1" > "$2"', 'sh', String(LINES), file],
    timeoutMs: 60_000,
    maxBytes: 1_000,
  })
  assert.equal(made.exit_code, 0)
  expected = await asTerminal(file)
})
after(async () => {
  await folder?.end()
  await rm(place, { recursive: true, force: true })
})

/** What a terminal makes of a file: CR LF for each LF. */
async function asTerminal(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(path, { encoding: 'latin1' })) {
    const text = (chunk as string).replaceAll('\n', '\r\n')
    hash.update(text, 'latin1')
    bytes += text.length
  }
  return { sha256: hash.digest('hex'), bytes }
}

for (const [title, command, pause] of [
  ['written by seq', () => ['seq', '1', String(LINES)], undefined],
  ['written by cat, which is the program of the session itself', () => ['cat', file], undefined],
  [
    'written by cat to a reader that stops again and again',
    () => ['cat', file],
    (piece: number) => (piece % 150 === 0 ? delay(30) : undefined),
  ],
] as const) {
  test(`TTY-01 not a byte of 61.9 MB is lost or reordered: ${title}`, async () => {
    const session = await sessions.startLocal(local(command()))
    const { sha256, bytes, exit } = await collect(session, pause)
    await session.close()
    assert.deepEqual({ sha256, bytes }, expected)
    assert.deepEqual([exit.exit_code, exit.signal, exit.reason], [0, null, 'exited'])
  })
}

test('TTY-01 nothing of what is written right before the end is lost, 100 times, also to a reader that is late', async () => {
  const text = 'x'.repeat(60_000)
  const want = createHash('sha256').update(text).digest('hex')
  for (let round = 0; round < 100; round += 1) {
    const session = await sessions.startLocal(local(['sh', '-c', 'head -c 60000 /dev/zero | tr "\\0" x; exit 3']))
    if (round % 2 === 1) await delay(10)
    const { sha256, bytes, exit } = await collect(session, (piece) =>
      round % 4 === 3 && piece === 1 ? delay(20) : undefined,
    )
    await session.close()
    assert.deepEqual(
      { round, bytes, sha256, code: exit.exit_code },
      { round, bytes: text.length, sha256: want, code: 3 },
    )
  }
})

test('TTY-01 nothing is lost while the host gets no processor from the last output until after the end', async () => {
  for (let round = 0; round < 20; round += 1) {
    const session = await sessions.startLocal(
      local(['sh', '-c', 'read go; head -c 3000 /dev/zero | tr "\\0" x; exit 3']),
    )
    const host = parentOf(session.info.pid as number)
    const collected = collect(session)
    await session.write(Buffer.from('\n'))
    process.kill(host, 'SIGSTOP')
    try {
      await waitUntil(() => hasEnded(session.info.pid as number), 5_000, 'the program ends')
    } finally {
      process.kill(host, 'SIGCONT')
    }
    const { bytes, exit } = await collected
    await session.close()
    // The line that was typed is echoed.
    assert.deepEqual({ round, bytes, code: exit.exit_code }, { round, bytes: 3_002, code: 3 })
  }
})

test('a program that a signal ended has that signal and no exit code', async () => {
  const session = await sessions.startLocal(local(['sh', '-c', 'kill -KILL $$']))
  const { exit_code, signal, reason } = await session.exited
  assert.deepEqual({ exit_code, signal, reason }, { exit_code: null, signal: 'SIGKILL', reason: 'exited' })
  await session.close()
})

test('a read before the scrollback says how many bytes are gone, and works until the session is closed', async () => {
  const session = await sessions.startLocal(local(['seq', '1', '400000']))
  const { bytes } = await collect(session)
  const all = await session.read(0)
  assert.equal(all.lost_bytes, all.offset)
  assert.equal(all.end, bytes)
  assert.equal(all.offset + all.bytes.length, bytes)
  assert.ok(all.bytes.length <= 1_048_576)
  assert.equal(String(Buffer.from((await session.read(bytes - 8)).bytes)), '400000\r\n')
  assert.equal((await session.read(bytes + 100)).bytes.length, 0)
  await session.close()
  await assert.rejects(session.read(0), { code: 'MHV_TERMINAL_ENDED' })
  assert.throws(() => sessions.get(session.info.id), { code: 'MHV_TERMINAL_UNKNOWN' })
})

/** State and parent of a process; undefined once it is gone. */
function stateOf(pid: number): readonly [state: string, parent: number] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return [state as string, Number(parent)]
  } catch {
    return undefined
  }
}

function parentOf(pid: number): number {
  const parent = stateOf(pid)?.[1]
  assert.ok(parent !== undefined && parent > 1, 'the program has the host as its parent')
  return parent
}

function hasEnded(pid: number): boolean {
  const state = stateOf(pid)?.[0]
  return state === undefined || state === 'Z'
}
