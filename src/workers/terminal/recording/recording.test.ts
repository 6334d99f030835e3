import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFile, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parseCast } from '../../../core/asciicast.ts'
import { systemClock } from '../../../core/clock.ts'
import { createRedactor } from '../../../governance/redaction.ts'
import { maskPart } from './mask.ts'
import { createRecorder } from './recorder.ts'
import { createRecordingFiles, RECORDING_FORMAT, type RecordingFacts } from './recording-files.ts'

const SECRET = 'correct-horse-battery'
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

let folder: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'recording-'))
})
after(() => rm(folder, { recursive: true, force: true }))

const factsOf = (session: string): RecordingFacts => ({
  format: RECORDING_FORMAT,
  session,
  run_id: 'RUN',
  owner: 'user:1',
  target: null,
  command: 'bash',
  term: 'xterm-256color',
  rows: 24,
  cols: 80,
  started_at: Date.now(),
  ended_at: null,
  recorded_to: 0,
  file_bytes: 0,
  cut: false,
  secrets: [],
})

function recorderOf(session: string, options: { readonly maxBytes?: number; readonly begun?: RecordingFacts } = {}) {
  const files = createRecordingFiles(folder)
  const masker = createRedactor()
  masker.add(SECRET)
  const errors: unknown[] = []
  const log = { ...silent, error: (_message: string, fields?: unknown) => void errors.push(fields) }
  const { maxBytes = 1_000_000, begun = factsOf(session) } = options
  const parts = { files, clock: systemClock, log, masker, maxBytes, screen: async () => 'SCREEN' }
  return { files, errors, recorder: createRecorder(parts, begun) }
}

const outputOf = (parts: readonly string[], kind = 'o') =>
  parts.flatMap((part) => parseCast(part).events.flatMap((event) => (event.kind === kind ? event.data : []))).join('')

describe('a recording', () => {
  test('is an asciicast that gzip and any reader of it understand, with input, sizes and marks', async () => {
    const { files, recorder: opening, errors } = recorderOf('A1')
    const recorder = await opening
    await recorder.output(0, Buffer.from('$ '))
    recorder.input('ls\r')
    recorder.resize(30, 100)
    await recorder.output(2, Buffer.from('ls\r\nü\r\n'))
    await recorder.close(true)
    assert.deepEqual(errors, [])
    const text = execFileSync('gzip', ['-dc', files.current('A1')]).toString('utf8')
    const { header, events } = parseCast(text)
    assert.deepEqual([header.version, header.width, header.height, header.command], [2, 80, 24, 'bash'])
    assert.deepEqual(
      events.map(({ kind, data }) => [kind, data]),
      [
        ['o', '$ '],
        ['i', 'ls\r'],
        ['r', '100x30'],
        ['o', 'ls\r\nü\r\n'],
      ],
    )
    const facts = await files.facts('A1')
    assert.equal(facts?.recorded_to, 2 + Buffer.byteLength('ls\r\nü\r\n'))
    assert.ok(facts?.ended_at)
    assert.equal((await stat(files.current('A1'))).mode & 0o777, 0o600)
  })

  test('TTY-08: masks a secret however it is split, and characters stay whole', async () => {
    const text = `before ü${SECRET}ü after ${SECRET}`
    for (const size of [1, 3, 7, 1000]) {
      const id = `S${size}`
      const { files, recorder: opening } = recorderOf(id)
      const recorder = await opening
      const bytes = Buffer.from(text)
      for (let at = 0; at < bytes.length; at += size) await recorder.output(at, bytes.subarray(at, at + size))
      recorder.input(`echo ${SECRET}\r`)
      await recorder.close(true)
      const parts = await files.parts(id)
      assert.equal(outputOf(parts), 'before ü[redacted]ü after [redacted]')
      assert.equal(outputOf(parts, 'i'), 'echo [redacted]\r')
      assert.ok(!parts.join('').includes(SECRET))
    }
  })

  test('is bounded: the newest is kept, and begins with the screen as it was', async () => {
    const { files, recorder: opening } = recorderOf('B1', { maxBytes: 65_536 })
    const recorder = await opening
    let offset = 0
    for (let line = 0; line < 300; line++) {
      const bytes = Buffer.from(Array.from({ length: 1_000 }, () => Math.random().toString(36).slice(2, 8)).join(' '))
      await recorder.output(offset, bytes)
      if (line % 10 === 0) await recorder.flush()
      offset += bytes.length
    }
    await recorder.output(offset, Buffer.from('THE END'))
    await recorder.close(true)
    const sizes = await Promise.all(
      ['B1.cast.gz', 'B1.0.cast.gz'].map(async (name) => (await stat(join(files.folder, name))).size),
    )
    // One member more than half of the limit in each.
    assert.ok(
      sizes.every((size) => size < 65_536 / 2 + 60_000),
      String(sizes),
    )
    const parts = await files.parts('B1')
    assert.equal(parts.length, 2)
    const { events } = parseCast(parts[1] as string)
    assert.equal(events[0]?.data, 'SCREEN')
    assert.ok(outputOf(parts).endsWith('THE END'))
    assert.equal((await files.facts('B1'))?.cut, true)
  })

  test('goes on after kill -9 where its facts say, without a byte twice', async () => {
    const first = recorderOf('C1')
    const recorder = await first.recorder
    await recorder.output(0, Buffer.from('one '))
    await recorder.flush()
    const begun = await first.files.facts('C1')
    assert.ok(begun)
    // What was being written when it was killed: a member whose facts never came.
    await appendFile(first.files.current('C1'), await readFile(first.files.current('C1')))
    const second = await recorderOf('C1', { begun }).recorder
    assert.equal(second.cursor(), 4)
    // The scrollback begins before; what is known is passed over.
    await second.output(0, Buffer.from('one two '))
    await second.output(20, Buffer.from('three'))
    await second.close(true)
    const parts = await first.files.parts('C1')
    assert.equal(outputOf(parts), 'one two three')
    assert.equal(outputOf(parts, 'm'), '12 bytes of output are not in the recording')
  })

  test('that cannot be written is told of once and holds nothing up', async () => {
    const { files, recorder: opening, errors } = recorderOf('D1')
    const recorder = await opening
    await rm(files.folder, { recursive: true })
    await appendFile(files.folder, 'in the way')
    await recorder.output(0, Buffer.from('x'))
    await recorder.flush()
    await recorder.output(1, Buffer.from('y'))
    await recorder.close(true)
    assert.equal(errors.length, 1)
    await rm(files.folder)
  })

  test('old ones are removed, oldest first, and never one that goes on', async () => {
    const own = await mkdtemp(join(tmpdir(), 'prune-'))
    const files = createRecordingFiles(own)
    for (const [index, session] of ['E1', 'E2', 'E3'].entries()) {
      const ended_at = session === 'E1' ? null : 1
      await files.append(session, Buffer.alloc(1_000))
      await files.writeFacts({ ...factsOf(session), started_at: index, ended_at })
    }
    await files.prune(2_500)
    assert.deepEqual((await readdir(files.folder)).sort(), ['E1.cast.gz', 'E1.json', 'E3.cast.gz', 'E3.json'])
    await assert.rejects(async () => files.facts('../E1'), { code: 'MHV_TERMINAL_RECORDING_UNKNOWN' })
    await rm(own, { recursive: true })
  })
})

describe('a piece with secrets', () => {
  const masker = createRedactor()
  masker.add('abcdef')
  masker.add('defghi')
  const part = (text: string, options: Parameters<typeof maskPart>[2]) => {
    const { bytes, used } = maskPart(masker, Buffer.from(text), options)
    return [bytes.toString(), used]
  }

  test('is masked up to where one may begin', () => {
    assert.deepEqual(part('x abcdef y', { last: false }), ['x [redacted] y', 10])
    assert.deepEqual(part('x abc', { last: false }), ['x ', 2])
    assert.deepEqual(part('x abc', { last: true }), ['x abc', 5])
    assert.deepEqual(part('x abc', { last: false, least: 4 }), ['x abc', 5])
    // The end of the first may be the beginning of the second.
    assert.deepEqual(part('x abcdef', { last: false }), ['x ', 2])
    assert.deepEqual(part('x abcdefghi y', { last: false }), ['x [redacted] y', 13])
  })

  test('that begins within one goes on under its mask', () => {
    assert.deepEqual(part('abcdef y', { from: 3, last: true }), [' y', 5])
    assert.deepEqual(part('x abcdef y', { from: 2, last: true }), ['[redacted] y', 8])
  })
})
