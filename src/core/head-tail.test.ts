import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { createHeadTail } from './head-tail.ts'

const limits = fc.record({ head: fc.nat(40), tail: fc.nat(40) })
const pieces = fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 20 })
const gap = (bytes: number) => `<${bytes}>`

suite('head and tail', () => {
  test('keep the first and the last bytes, and count what is between', () => {
    fc.assert(
      fc.property(limits, pieces, ({ head, tail }, pushed) => {
        const kept = createHeadTail({ head, tail })
        const handedOn = Buffer.concat(pushed.map((piece) => kept.push(piece)))
        const whole = Buffer.concat(pushed)
        // Up to three bytes of the head's room stay free where a character would not fit.
        assert.ok(handedOn.length <= head && handedOn.length >= Math.min(whole.length, head) - 3)
        const rest = whole.subarray(handedOn.length)
        assert.deepEqual(Buffer.from(kept.head()), handedOn)
        assert.deepEqual(handedOn, whole.subarray(0, handedOn.length))
        assert.deepEqual(Buffer.from(kept.tail()), rest.subarray(Math.max(0, rest.length - tail)))
        assert.equal(kept.dropped(), Math.max(0, rest.length - tail))
      }),
    )
  })

  test('without keepHead the head is handed on and not kept', () => {
    const kept = createHeadTail({ head: 3, tail: 2, keepHead: false })
    assert.equal(Buffer.from(kept.push(Buffer.from('abcdef'))).toString(), 'abc')
    assert.equal(kept.head().length, 0)
    assert.equal(Buffer.from(kept.tail()).toString(), 'ef')
    assert.equal(kept.dropped(), 1)
  })

  test('what was pushed may be overwritten by its owner', () => {
    const piece = Buffer.from('abcdef')
    const kept = createHeadTail({ head: 2, tail: 2 })
    const head = kept.push(piece)
    piece.fill('x')
    assert.equal(Buffer.from(head).toString(), 'ab')
    assert.equal(kept.text(gap), 'ab<2>ef')
  })

  test('a cut never goes through a character: its bytes are counted as missing', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), limits, (text, { head, tail }) => {
        const kept = createHeadTail({ head, tail })
        const bytes = Buffer.from(text)
        kept.push(bytes)
        const shown = kept.text(gap)
        if (kept.dropped() === 0) return assert.equal(shown, bytes.toString())
        if (text.includes('<') || text.includes('>')) return
        const [before = '', missing = '', after = ''] = shown.split(/[<>]/)
        assert.ok(text.startsWith(before) && text.endsWith(after))
        assert.equal(Buffer.byteLength(before + after) + Number(missing), bytes.length)
      }),
    )
  })

  test('a head that is handed on ends with a whole character', () => {
    const kept = createHeadTail({ head: 4, tail: 10, keepHead: false })
    assert.equal(Buffer.from(kept.push(Buffer.from('aa€x'))).toString(), 'aa')
    assert.equal(kept.push(Buffer.from('y')).length, 0)
    assert.equal(Buffer.from(kept.tail()).toString(), '€xy')
  })

  test('a million pieces of one byte take the memory of their bytes', () => {
    const kept = createHeadTail({ head: 1000, tail: 200_000 })
    const byte = new Uint8Array(1)
    const started = process.cpuUsage()
    for (let at = 0; at < 1_000_000; at++) {
      byte[0] = at % 251
      kept.push(byte)
    }
    const { user } = process.cpuUsage(started)
    assert.ok(user < 10_000_000, `${user} µs`)
    assert.equal(kept.dropped(), 1_000_000 - 201_000)
    assert.equal(kept.tail()[199_999], 999_999 % 251)
  })
})
