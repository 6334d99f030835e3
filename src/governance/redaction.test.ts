import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { mhvError } from '../core/errors.ts'
import { createSecret } from '../core/secret.ts'
import { createRedactor, MASK, type Redactor } from './redaction.ts'

const CANARY = 'canary-4711-ü€𝄞'

function withSecrets(...secrets: readonly string[]): Redactor {
  const redactor = createRedactor()
  for (const secret of secrets) redactor.add(secret)
  return redactor
}

/** Pushes a text piece by piece, cut at the given places. */
function streamed(redactor: Redactor, bytes: Buffer, cuts: readonly number[]): string {
  const stream = redactor.stream()
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  const out: Uint8Array[] = []
  let at = 0
  for (const place of [...places, bytes.length]) {
    // A copy that is overwritten afterwards, as drivers reuse their buffers.
    const piece = Buffer.from(bytes.subarray(at, place))
    out.push(Uint8Array.from(stream.push(piece)))
    piece.fill(0)
    at = place
  }
  return Buffer.concat([...out, stream.end()]).toString()
}

/** Texts and secrets of two letters: they overlap and repeat each other in every way there is. */
const letters = fc.constantFrom('a', 'b')
const subject = fc.string({ unit: letters, maxLength: 40 })
const secrets = fc.array(fc.string({ unit: letters, minLength: 4, maxLength: 7 }), { minLength: 1, maxLength: 3 })

suite('CORE-04: redaction of output', () => {
  test('a secret split over two chunks at every position is masked', () => {
    const text = Buffer.from(`before ${CANARY} between ${CANARY}${CANARY} after`)
    for (let cut = 0; cut <= text.length; cut++) {
      assert.equal(
        streamed(withSecrets(CANARY), text, [cut]),
        `before ${MASK} between ${MASK}${MASK} after`,
        `cut at ${cut}`,
      )
    }
    // Negative control: chunk by chunk without a memory, the secret comes through.
    const perChunk = (cut: number) => {
      const redactor = withSecrets(CANARY)
      return [text.subarray(0, cut), text.subarray(cut)].map((piece) => redactor.text(piece.toString())).join('')
    }
    assert.ok(Array.from(text, (_, cut) => perChunk(cut)).some((out) => out.includes('canary-47')))
  })

  test('however a stream is cut, it gives what the whole text gives', () => {
    fc.assert(
      fc.property(subject, secrets, fc.array(fc.nat(40)), (text, values, cuts) => {
        const redactor = withSecrets(...values)
        assert.equal(streamed(redactor, Buffer.from(text), cuts), redactor.text(text))
      }),
      { numRuns: 3_000 },
    )
  })

  test('no secret is left, and nothing but secrets is taken', () => {
    fc.assert(
      fc.property(subject, secrets, (text, values) => {
        const parts = withSecrets(...values)
          .text(text)
          .split(MASK)
        for (const part of parts) assert.ok(!values.some((value) => part.includes(value)))
        // Every letter that is left stood in no secret, so what is left is the text with all places of secrets cut out.
        const covered = new Set<number>()
        for (const value of values) {
          for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) {
            for (let place = at; place < at + value.length; place++) covered.add(place)
          }
        }
        assert.equal(parts.join(''), [...text].filter((_, place) => !covered.has(place)).join(''))
      }),
      { numRuns: 2_000 },
    )
  })

  test('nothing is held back longer than a secret is, however long the stream', () => {
    const redactor = withSecrets('aaaaa')
    const stream = redactor.stream()
    let out = 0
    for (let count = 0; count < 100_000; count++) out += stream.push(Buffer.from('a')).length
    // One mask, since every place of the secret overlaps the one before.
    assert.equal(out, MASK.length)
    assert.equal(stream.end().length, 0)
  })

  test('bytes that are no text come through as they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.array(fc.nat(60)), (bytes, cuts) => {
        const stream = withSecrets('never-there').stream()
        const out = [0, ...cuts.map((cut) => cut % 61), 60].sort((a, b) => a - b)
        const pieces = out.slice(1).map((to, index) => stream.push(bytes.subarray(out[index], to)))
        assert.deepEqual(Buffer.concat([...pieces, stream.end()]), Buffer.from(bytes))
      }),
    )
  })

  test('a secret that becomes known in the middle of a stream is masked from there on', () => {
    const redactor = createRedactor()
    const stream = redactor.stream()
    assert.equal(Buffer.from(stream.push(Buffer.from('x'))).toString(), 'x')
    redactor.add(CANARY)
    assert.equal(Buffer.from(stream.push(Buffer.from(CANARY))).toString() + Buffer.from(stream.end()).toString(), MASK)
  })
})

suite('CORE-04: redaction of values', () => {
  test('strings and keys at every depth are masked', () => {
    const hidden = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(CANARY, `a${CANARY}b`, 'harmless', 1, true, null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(CANARY, 'key', `${CANARY}2`, '__proto__'), tie('value'), { maxKeys: 3 }),
      ),
    })).value
    const check = (mask: Redactor['deep']) =>
      fc.property(hidden, (value) => {
        assert.ok(!JSON.stringify(mask(value)).includes(CANARY))
      })
    fc.assert(check(withSecrets(CANARY).deep))
    // Negative control: without a known secret it is all there.
    assert.throws(() => fc.assert(check(createRedactor().deep)))
  })

  test('two keys that are masked stay two', () => {
    const masked = withSecrets(CANARY, 'other-secret').deep({ [CANARY]: 1, 'other-secret': 2, [MASK]: 3 })
    assert.deepEqual(masked, { [MASK]: 1, [`${MASK} (2)`]: 2, [`${MASK} (3)`]: 3 })
  })

  test('errors, their details and causes, maps, sets, dates and cycles', () => {
    const redactor = withSecrets(CANARY)
    const cause = Object.assign(new Error(`password ${CANARY} refused`), { [CANARY]: CANARY })
    const error = mhvError('MHV_SSH_AUTH_FAILED', `no: ${CANARY}`, { details: { tried: [CANARY] }, cause })
    const cycle: Record<string, unknown> = {
      error,
      map: new Map([[CANARY, CANARY]]),
      set: new Set([CANARY]),
      at: new Date(0),
    }
    cycle.self = cycle
    const text = JSON.stringify(redactor.deep(cycle))
    assert.ok(!text.includes('canary'), text)
    assert.match(text, /refused/)
    assert.match(text, /1970-01-01/)
    assert.equal(
      JSON.stringify(redactor.deep({ secret: createSecret('env:X', CANARY) })),
      '{"secret":"[secret env:X]"}',
    )
    assert.ok(!JSON.stringify(redactor.deep({ bytes: Buffer.from(CANARY) })).includes('99,97,110'))
  })

  test('as JSON, URLs and terminals write it', () => {
    const secret = 'p@ss "wörd"/\nline two'
    const redactor = withSecrets(secret)
    const url = new URL('postgres://host')
    url.password = secret
    const terminal = secret.replaceAll('\n', '\r\n')
    for (const spelt of [JSON.stringify({ secret }), url.href, `u:${encodeURIComponent(secret)}@host`, terminal]) {
      const masked = redactor.text(spelt)
      assert.ok(masked.includes(MASK), spelt)
      assert.ok(!masked.includes('line'), masked)
    }
    assert.doesNotThrow(() => createRedactor().add('half of a character \ud800'))
  })

  test('finds secrets in keys and values, and says no when there are none', () => {
    const redactor = withSecrets(CANARY)
    assert.ok(redactor.finds({ a: [{ b: `x${CANARY}` }] }))
    assert.ok(redactor.finds({ [CANARY]: 1 }))
    assert.ok(!redactor.finds({ a: 'canary' }))
    assert.ok(!createRedactor().finds(CANARY))
  })

  test('what is too short to be masked is not', () => {
    const redactor = withSecrets('abc')
    assert.equal(redactor.text('abcabc'), 'abcabc')
  })
})
