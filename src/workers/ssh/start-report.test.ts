import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createStartScanner, newMarker } from './start-report.ts'

const MARKER = newMarker()

function scan(pieces: readonly Buffer[], marker = MARKER) {
  const scanner = createStartScanner(marker)
  const out = [...pieces.map((piece) => Buffer.from(scanner.push(piece))), scanner.end()]
  return { report: scanner.report(), text: Buffer.concat(out) }
}

function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : sorted[index - 1], end))
}

test('the report is found and cut out, however the stream is cut (property)', () => {
  const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
  fc.assert(
    fc.property(
      noise,
      noise,
      fc.integer({ min: 2, max: 4_194_304 }),
      fc.array(fc.nat()),
      (before, behind, pid, places) => {
        const stream = Buffer.concat([before, Buffer.from(`${MARKER} ${pid}\n`), behind])
        const { report, text } = scan(cutAt(stream, places))
        assert.deepEqual(report, { kind: 'started', pid })
        assert.deepEqual(text, Buffer.concat([before, behind]))
      },
    ),
  )
})

test('a stream without a report passes unchanged (property)', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.array(fc.nat()), (bytes, places) => {
      const { report, text } = scan(cutAt(Buffer.from(bytes), places))
      assert.equal(report, undefined)
      assert.deepEqual(text, Buffer.from(bytes))
    }),
  )
})

test('only the first report counts: what stands behind it is the output of the command', () => {
  const { report, text } = scan([Buffer.from(`${MARKER} 123\n${MARKER} cwd\n`)])
  assert.deepEqual(report, { kind: 'started', pid: 123 })
  assert.equal(text.toString(), `${MARKER} cwd\n`)
})

test('what could not be done is told apart', () => {
  assert.deepEqual(scan([Buffer.from(`sh: cd: no\n${MARKER} cwd\n`)]), {
    report: { kind: 'cwd' },
    text: Buffer.from('sh: cd: no\n'),
  })
  assert.deepEqual(scan([Buffer.from(`${MARKER} env\n`)]).report, { kind: 'env' })
})

test('a report that is none is left in the stream', () => {
  for (const said of ['', '1', '0', '-5', '12x', '99999999999', 'x'.repeat(500)]) {
    const stream = Buffer.from(`${MARKER} ${said}\nmore`)
    assert.deepEqual(scan([stream]), { report: undefined, text: stream }, said)
  }
})

test('markers differ', () => {
  assert.notEqual(newMarker(), newMarker())
  assert.match(newMarker(), /^[A-Za-z0-9-]+$/)
})

test('a shell that says megabytes before it starts is not held in memory', () => {
  const scanner = createStartScanner(MARKER)
  const piece = Buffer.alloc(64 * 1024, 'x')
  let passed = 0
  for (let n = 0; n < 64; n++) passed += scanner.push(piece).length
  assert.ok(64 * piece.length - passed < 1_000)
})
