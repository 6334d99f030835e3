import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createFrameReader, FRAME, type Frame, type FrameType, frameHeader, HEADER_BYTES } from './frames.ts'

const frame: fc.Arbitrary<Frame> = fc.record({
  type: fc.constantFrom<FrameType>(...Object.values(FRAME)),
  key: fc.integer({ min: 0, max: 0xffff_ffff }),
  // The cursor after a piece is a safe integer, too.
  offset: fc.maxSafeNat().map((at) => Math.min(at, Number.MAX_SAFE_INTEGER - 1_000_000)),
  payload: fc.uint8Array({ maxLength: 200 }),
})

function encode(frames: readonly Frame[]): Buffer {
  return Buffer.concat(
    frames.flatMap(({ type, key, offset, payload }) => [frameHeader(type, key, offset, payload.length), payload]),
  )
}

/** Pieces of one output frame as one again; frames of output without a byte say nothing and are left out. */
function joined(frames: readonly Frame[]): Frame[] {
  const whole: Frame[] = []
  for (const each of frames) {
    const last = whole.at(-1)
    if (each.type === FRAME.output && each.payload.length === 0) continue
    const goesOn =
      last?.type === FRAME.output &&
      each.type === FRAME.output &&
      each.key === last.key &&
      each.offset === last.offset + last.payload.length
    if (goesOn) whole[whole.length - 1] = { ...last, payload: Buffer.concat([last.payload, each.payload]) }
    else whole.push({ ...each, payload: Buffer.from(each.payload) })
  }
  return whole
}

test('property: frames come out as they went in, however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1 }),
      (frames, cuts) => {
        const bytes = encode(frames)
        const received: Frame[] = []
        const reader = createFrameReader((each) => received.push(each))
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const end = at + (cuts[turn % cuts.length] as number)
          // A copy, so that a reader that keeps a view of what is not its own would be seen.
          const piece = Buffer.from(bytes.subarray(at, end))
          reader.push(piece)
          at = end
        }
        assert.deepEqual(joined(received), joined(frames))
      },
    ),
    { numRuns: 500 },
  )
})

test('property: what is no frame is refused before anything is kept of it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: HEADER_BYTES, maxLength: 64 }), (bytes) => {
      const received: Frame[] = []
      const reader = createFrameReader((each) => received.push(each), 4_096)
      const view = new DataView(bytes.buffer, bytes.byteOffset)
      const isFrame = view.getUint32(0) <= 4_096 && Object.values<number>(FRAME).includes(bytes[4] as number)
      if (!isFrame) assert.throws(() => reader.push(bytes), RangeError)
      else if (!Number.isSafeInteger(view.getFloat64(9)) || view.getFloat64(9) < 0) {
        assert.throws(() => reader.push(bytes), RangeError)
      }
    }),
    { numRuns: 1_000 },
  )
})

test('a frame that is longer than allowed is refused by its header', () => {
  const reader = createFrameReader(() => assert.fail('nothing is received'), 100)
  assert.throws(() => reader.push(frameHeader(FRAME.control, 0, 0, 101)), RangeError)
  assert.throws(() => frameHeader(FRAME.control, 0, 0, 5 * 1_048_576), RangeError)
})
