import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { mhvError } from '../core/errors.ts'
import { createRedactor, MASK } from '../governance/redaction.ts'
import type { NewOutputChunk } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { CHUNK_BYTES, FLUSH_MS } from './output-queue.ts'
import { createRunOutput, type KeptOutput, type OutputLimits } from './run-output.ts'

const CANARY = 'canary-4711'
const AMPLE: OutputLimits = { head: 1_000_000, tail: 1_000_000, text: 1_000_000 }

/** The journal's part of it: what was written, and failures to order. */
function fixture(limits: OutputLimits = AMPLE, redactor = createRedactor(), keptBefore?: KeptOutput) {
  const clock = createFakeClock(0)
  const chunks: NewOutputChunk[] = []
  const journal = { journaled: true, failing: false, writes: 0 }
  const output = createRunOutput({
    run_id: () => 'run',
    store: {
      async appendOutput(_run_id, added) {
        journal.writes += 1
        await clock.sleep(0)
        if (journal.failing) throw mhvError('MHV_JOURNAL_FULL', 'no room')
        chunks.push(...added)
      },
    },
    redactor,
    limits,
    after: clock.after,
    journaled: () => journal.journaled,
    ...(keptBefore === undefined ? {} : { keptBefore }),
  })
  const flushed = async () => {
    const flushing = output.flush()
    await Promise.all([clock.advance(10), flushing])
  }
  const journaled = (stream: 'stdout' | 'stderr' = 'stdout') =>
    Buffer.concat(chunks.filter((chunk) => chunk.stream === stream).map((chunk) => chunk.bytes)).toString()
  return { clock, chunks, journal, output, flushed, journaled, redactor }
}

/** Writes pieces as a driver would, with the time running, and reads what was kept. */
async function emit(parts: ReturnType<typeof fixture>, pieces: readonly (string | Uint8Array)[]) {
  const sink = parts.output.attempt()
  for (const piece of pieces) {
    const writing = sink.write('stdout', Buffer.from(piece))
    await Promise.all([parts.clock.advance(1), writing])
  }
  return sink.collect('stdout')
}

suite('output of a run', () => {
  test('what came is in the text and in the journal, in order, each stream for itself', async () => {
    const parts = fixture()
    const sink = parts.output.attempt()
    await sink.write('stdout', Buffer.from('one '))
    await sink.write('stderr', Buffer.from('bad '))
    await sink.write('stdout', Buffer.from('two'))
    assert.deepEqual(await sink.collect('stdout'), { text: 'one two', bytes: 7, dropped_bytes: 0, utf8: true })
    assert.equal((await sink.collect('stderr')).text, 'bad ')
    await parts.flushed()
    assert.equal(parts.journaled('stdout'), 'one two')
    assert.equal(parts.journaled('stderr'), 'bad ')
    assert.deepEqual(
      parts.chunks.map((chunk) => chunk.stream),
      ['stdout', 'stderr', 'stdout'],
    )
  })

  test('CORE-04: a secret split over two writes at every place reaches neither text nor journal', async () => {
    const whole = `before ${CANARY} after`
    const split = async (cut: number, known: boolean) => {
      const parts = fixture()
      if (known) parts.redactor.add(CANARY)
      const { text } = await emit(parts, [whole.slice(0, cut), whole.slice(cut)])
      await parts.flushed()
      return [text, parts.journaled()]
    }
    for (let cut = 0; cut <= whole.length; cut++) {
      assert.deepEqual(await split(cut, true), [`before ${MASK} after`, `before ${MASK} after`], `cut at ${cut}`)
    }
    // Negative control: without redaction it is there.
    assert.deepEqual(await split(10, false), [whole, whole])
  })

  test('head and tail are kept, the middle is counted, in the journal as in the text', async () => {
    const limits = fc.record({ head: fc.nat(50), tail: fc.nat(50), text: fc.nat(60) })
    const pieces = fc.array(fc.string({ maxLength: 30 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(limits, pieces, async (bounds, written) => {
        const parts = fixture(bounds)
        const whole = written.join('')
        const kept = await emit(parts, written)
        await parts.flushed()
        const gaps = parts.chunks.reduce((sum, chunk) => sum + chunk.gap_bytes, 0)
        assert.equal(parts.journaled().length + gaps, whole.length)
        assert.equal(gaps, Math.max(0, whole.length - bounds.head - bounds.tail))
        assert.ok(parts.journaled().startsWith(whole.slice(0, bounds.head)))
        assert.ok(parts.journaled().endsWith(whole.slice(Math.max(bounds.head, whole.length - bounds.tail))))
        assert.equal(kept.bytes, whole.length)
        assert.equal(kept.text.includes('left out here'), whole.length > bounds.text)
        assert.ok(kept.dropped_bytes <= gaps)
      }),
    )
  })

  test('every piece in the journal is whole text where the output is text, wherever it was cut on the way', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'é', '€', '𝄞'), minLength: 1, maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(text, fc.array(fc.nat(240), { maxLength: 8 }), fc.nat(100), async (whole, cuts, head) => {
        const parts = fixture({ ...AMPLE, head })
        const bytes = Buffer.from(whole)
        const places = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
        const kept = await emit(
          parts,
          places.slice(1).map((to, index) => bytes.subarray(places[index], to)),
        )
        await parts.flushed()
        assert.equal(parts.chunks.map((chunk) => Buffer.from(chunk.bytes).toString()).join(''), whole)
        assert.deepEqual([kept.text, kept.utf8], [whole, true])
      }),
    )
  })

  test('bytes that are no text are said to be so, and are in the journal as they came', async () => {
    const parts = fixture()
    const bytes = Buffer.from([0x61, 0xff, 0xe2, 0x82])
    const kept = await emit(parts, [bytes.subarray(0, 3), bytes.subarray(3)])
    assert.equal(kept.utf8, false)
    await parts.flushed()
    assert.deepEqual(Buffer.concat(parts.chunks.map((chunk) => chunk.bytes)), bytes)
  })

  test('a hundred thousand writes of one byte are a few rows', async () => {
    const parts = fixture()
    const sink = parts.output.attempt()
    for (let count = 0; count < 100_000; count++) {
      const writing = sink.write('stdout', Buffer.from('x'))
      if (count % 10_000 === 0) await parts.clock.advance(1)
      await writing
    }
    await parts.flushed()
    assert.equal(parts.journaled().length, 100_000)
    assert.ok(parts.chunks.length <= 4, `${parts.chunks.length} rows`)
    assert.ok(parts.chunks.every((chunk) => chunk.bytes.length <= CHUNK_BYTES))
  })

  test('a slow command can be followed: what came is written within half a second', async () => {
    const parts = fixture()
    const sink = parts.output.attempt()
    await sink.write('stdout', Buffer.from('one'))
    await parts.clock.advance(FLUSH_MS + 1)
    assert.equal(parts.journaled(), 'one')
    // Also what comes while the piece before is on its way.
    await sink.write('stdout', Buffer.from('two'))
    await parts.clock.advance(FLUSH_MS)
    await sink.write('stdout', Buffer.from('three'))
    await parts.clock.advance(2 * FLUSH_MS)
    assert.equal(parts.journaled(), 'onetwothree')
  })

  test('output of a run that is not in the journal waits for it, and follows when it is there', async () => {
    const parts = fixture()
    parts.journal.journaled = false
    const sink = parts.output.attempt()
    await sink.write('stdout', Buffer.from('early'))
    await parts.clock.advance(3 * FLUSH_MS)
    assert.equal(parts.journal.writes, 0)
    // A flush says so instead of waiting for ever.
    await assert.rejects(parts.output.flush(), { code: 'MHV_JOURNAL_UNAVAILABLE' })
    parts.journal.journaled = true
    await parts.clock.advance(FLUSH_MS + 1)
    assert.equal(parts.journaled(), 'early')
  })

  test('a piece that the journal did not take is neither lost nor written twice, and the journal is not hammered', async () => {
    const parts = fixture()
    const sink = parts.output.attempt()
    parts.journal.failing = true
    const line = 'x'.repeat(CHUNK_BYTES / 2)
    for (let count = 0; count < 20; count++) {
      const writing = sink.write('stdout', Buffer.from(line))
      await Promise.all([parts.clock.advance(1), writing])
    }
    assert.ok(parts.journal.writes <= 3, `${parts.journal.writes} writes`)
    await assert.rejects(parts.flushed(), { code: 'MHV_JOURNAL_FULL' })
    parts.journal.failing = false
    await parts.flushed()
    assert.equal(parts.journaled(), line.repeat(20))
    // Flushed again there is nothing left to write.
    const before = parts.journal.writes
    await parts.flushed()
    assert.equal(parts.journal.writes, before)
  })

  test('a store that throws at once instead of rejecting blocks nothing', async () => {
    let broken = true
    const chunks: NewOutputChunk[] = []
    const clock = createFakeClock(0)
    const output = createRunOutput({
      run_id: () => 'run',
      store: {
        appendOutput(_run_id, added) {
          if (broken) throw new Error('at once')
          chunks.push(...added)
          return Promise.resolve()
        },
      },
      redactor: createRedactor(),
      limits: AMPLE,
      after: clock.after,
      journaled: () => true,
    })
    await output.attempt().write('stdout', Buffer.from('a'))
    await assert.rejects(output.flush(), /at once/)
    broken = false
    await output.flush()
    assert.equal(chunks.length, 1)
  })

  test('each attempt has its own text; the journal has all of them, and nothing that comes after the end', async () => {
    const parts = fixture()
    const first = parts.output.attempt()
    await first.write('stdout', Buffer.from('first '))
    const second = parts.output.attempt()
    await first.write('stdout', Buffer.from('late '))
    await second.write('stdout', Buffer.from('second'))
    assert.equal((await first.collect('stdout')).text, 'first ')
    assert.equal((await second.collect('stdout')).text, 'second')
    await second.write('stdout', Buffer.from('after collect'))
    await parts.flushed()
    await second.write('stderr', Buffer.from('after the end'))
    await parts.clock.advance(10 * FLUSH_MS)
    assert.equal(parts.journaled(), 'first second')
    assert.equal(parts.journaled('stderr'), '')
  })

  test('a writer that is faster than the journal waits', async () => {
    const parts = fixture({ head: 8_000_000, tail: 0, text: 0 })
    const sink = parts.output.attempt()
    let written = 0
    const writer = (async () => {
      for (; written < 60; written++) await sink.write('stdout', Buffer.alloc(CHUNK_BYTES))
    })()
    await new Promise((resolve) => setImmediate(resolve))
    assert.ok(written < 20, `${written} chunks are on their way`)
    await Promise.all([parts.clock.advance(1_000), writer])
    assert.equal(written, 60)
  })
})

suite('output of a run that is taken up again', () => {
  test('SSH-07: comes from its beginning, and the journal has it once, wherever the process before was cut off', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.stringMatching(/^[a-z]{1,40}$/), { maxLength: 12 }),
        fc.record({ head: fc.nat(100), tail: fc.integer({ min: 1, max: 100 }), text: fc.constant(10_000) }),
        fc.nat(),
        async (pieces, limits, at) => {
          const whole = fixture(limits)
          await emit(whole, pieces)
          await whole.flushed()
          const all = whole.journaled()
          const kept = all.length === 0 ? 0 : at % (all.length + 1)
          const rest = fixture(limits, createRedactor(), { stdout: kept, stderr: 0 })
          const collected = await emit(rest, pieces)
          await rest.flushed()
          assert.equal(rest.journaled(), all.slice(kept))
          assert.equal(collected.text, pieces.join(''))
          const gapOf = (parts: typeof whole) => parts.chunks.reduce((sum, { gap_bytes }) => sum + gap_bytes, 0)
          // The gap stands before the first byte behind the head; it was told where the journal has that byte.
          const head = Math.min(limits.head, pieces.join('').length)
          assert.equal(gapOf(rest), kept > head ? 0 : gapOf(whole))
        },
      ),
      { numRuns: 60 },
    )
  })

  test('only its first attempt brings again what the journal has', async () => {
    const parts = fixture(AMPLE, createRedactor(), { stdout: 3, stderr: 0 })
    await emit(parts, ['one'])
    await emit(parts, ['two'])
    await parts.flushed()
    assert.equal(parts.journaled(), 'two')
  })
})
