import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../core/errors.ts'
import { createRedactor } from '../governance/redaction.ts'
import { createLogger, type LogLevel } from './log.ts'

const CANARY = 'canary-4711'

function logTo(level: LogLevel = 'debug') {
  const lines: string[] = []
  const redactor = createRedactor()
  const log = createLogger(level, redactor.deep, { write: (line) => void lines.push(line) })
  return { redactor, log, lines, parsed: () => lines.map((line) => JSON.parse(line)) }
}

suite('log', () => {
  test('one JSON object per line, from its level on', () => {
    const { log, parsed } = logTo('warn')
    log.info('not this')
    log.warn('this', { run_id: 'x' })
    log.error('and this')
    assert.deepEqual(
      parsed().map(({ msg, run_id, level }) => [level, msg, run_id]),
      [
        [40, 'this', 'x'],
        [50, 'and this', undefined],
      ],
    )
    assert.match(parsed()[0].time, /^\d{4}-\d\d-\d\dT/)
  })

  test('CORE-04: no secret in message, fields, keys, errors, stacks, details or causes', () => {
    const write = ({ log }: ReturnType<typeof logTo>) => {
      const cause = new AggregateError([new Error(`in a list ${CANARY}`)], `cause ${CANARY}`)
      const error = mhvError('MHV_SSH_AUTH_FAILED', `error ${CANARY}`, { details: { [CANARY]: CANARY }, cause })
      log.error(`message ${CANARY}`, {
        error,
        err: error,
        text: CANARY,
        [CANARY]: [CANARY],
        deep: { map: new Map([[CANARY, CANARY]]) },
      })
    }
    const masked = logTo()
    masked.redactor.add(CANARY)
    write(masked)
    assert.ok(!masked.lines.join('').includes(CANARY))
    const [line] = masked.parsed()
    assert.match(line.error.cause.errors[0].message, /in a list \[redacted\]/)
    assert.match(line.error.stack, /MhvError|Error/)
    // Negative control: what is not known as a secret is there, in every one of the places.
    const open = logTo()
    write(open)
    assert.ok((open.lines.join('').match(/canary-4711/g)?.length ?? 0) > 10)
  })

  test('an error is told with message, code and stack, under any name', () => {
    const { log, parsed } = logTo()
    log.warn('failed', { error: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) })
    const [{ error }] = parsed()
    assert.equal(error.message, 'refused')
    assert.equal(error.code, 'ECONNREFUSED')
    assert.match(error.stack, /log\.test/)
  })

  test('nothing that is put into a field makes it throw or hides what the line is', () => {
    const { log, lines, parsed } = logTo()
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    const trap = {
      get x() {
        throw new Error('no')
      },
    }
    log.info('odd', { cycle, trap, big: 1n, level: 'fake', time: 'fake', msg: 'fake', nothing: undefined })
    assert.equal(lines.length, 1)
    assert.equal(lines[0]?.match(/"msg"/g)?.length, 1)
    assert.equal(parsed()[0].msg, 'odd')
    assert.equal(parsed()[0].level, 30)
  })

  test('a redaction that fails costs the line, never the caller', () => {
    const lines: string[] = []
    const failing = createLogger(
      'info',
      () => {
        throw new RangeError(CANARY)
      },
      { write: (line) => void lines.push(line) },
    )
    failing.info(CANARY)
    assert.match(lines.join(''), /could not be written/)
    assert.ok(!lines.join('').includes(CANARY))
  })
})
