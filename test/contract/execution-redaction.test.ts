import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { OperationContext } from '../../src/core/context.ts'
import { mhvError, toMhvError } from '../../src/core/errors.ts'
import { createRedactor, MASK, type Redactor } from '../../src/governance/redaction.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { createFakeClock } from '../../src/testing/fake-clock.ts'
import { createRuntimeFixture, type Script } from '../helpers/runtime-parts.ts'

/** What the fixture's resolver gives for `env:CANARY`. */
const CANARY = 'value-of-env:CANARY'

/** The mechanism off. */
function blind(): Redactor {
  return { ...createRedactor(), add: () => undefined }
}

/** Everything that ever reaches the journal or a caller, as text. */
function everything(script: Script, redactor: Redactor) {
  const seen: unknown[] = []
  const clock = createFakeClock(0)
  const memory = createMemoryStore(clock)
  const telling =
    <A extends unknown[], R>(write: (...args: A) => R) =>
    (...args: A): R => {
      seen.push(...args)
      return write(...args)
    }
  const store: Store = {
    ...memory,
    createRun: telling(memory.createRun),
    changeRun: telling(memory.changeRun),
    appendEvents: telling(memory.appendEvents),
    appendOutput: telling(memory.appendOutput),
    appendAudit: telling(memory.appendAudit),
    stateSet: telling(memory.stateSet),
  }
  const fixture = createRuntimeFixture({ clock, store, redactor, script })
  const run = async (operation = 'probe.script') => {
    const onProgress = (progress: unknown) => seen.push(progress)
    const result = await fixture.run(fixture.call(operation, { value: 'x' }, {}, { onProgress }))
    seen.push(result)
    seen.push(await fixture.run(fixture.control('run_get', { run_id: result.run_id })))
    seen.push(await fixture.run(fixture.control('run_output', { run_id: result.run_id })))
    seen.push(await fixture.run(fixture.control('worker_health', {})))
    return result
  }
  return { fixture, run, text: () => JSON.stringify(seen, bytesAsText) }
}

function bytesAsText(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString() : value
}

const secretOf = async (context: OperationContext) => (await context.secrets.resolve('env:CANARY')).reveal()

const places: Record<string, Script> = {
  'the data of a result, its keys and values': async (context) => {
    const secret = await secretOf(context)
    return { value: { [secret]: [`a ${secret} b`, { deep: secret }] } }
  },
  "the message of a driver's error": async (context) => {
    throw mhvError('MHV_EXEC_FAILED', `login with ${await secretOf(context)} failed`)
  },
  'the details of an error, keys and values': async (context) => {
    const secret = await secretOf(context)
    throw mhvError('MHV_EXEC_FAILED', 'failed', { details: { [secret]: { tried: [secret] } } })
  },
  'an error without a code, and its causes': async (context) => {
    const secret = await secretOf(context)
    throw new Error(`outer ${secret}`, { cause: new Error(`inner ${secret}`) })
  },
  'the errors of attempts that are tried again': async (context) => {
    const secret = await secretOf(context)
    if (context.attempt < 3) throw mhvError('MHV_SSH_CONNECT_REFUSED', `refused ${secret}`)
    return { value: 1 }
  },
  'the messages of progress': async (context) => {
    await context.progress({ progress: 1, message: `at ${await secretOf(context)}` })
    return { value: 1 }
  },
  'output in one piece': async (context) => {
    await context.output.write('stdout', Buffer.from(`x${await secretOf(context)}y`))
    return { value: (await context.output.collect('stdout')).text }
  },
  'output of the stream of errors, never collected': async (context) => {
    await context.output.write('stderr', Buffer.from(await secretOf(context)))
    return { value: 1 }
  },
  'what says why a result does not fit': async (context) => {
    const secret = await secretOf(context)
    return { [secret]: secret }
  },
}

suite('CORE-04: a secret never reaches the journal or a caller', () => {
  for (const [place, script] of Object.entries(places)) {
    test(`not in ${place}`, async () => {
      const masked = everything(script, createRedactor())
      await masked.run()
      assert.ok(!masked.text().includes(CANARY), masked.text())
      if (place === 'what says why a result does not fit') return
      // Negative control: without the redaction it is there.
      const open = everything(script, blind())
      await open.run()
      assert.ok(open.text().includes(CANARY))
    })
  }

  test('not where it is split over two chunks of output at any position', async () => {
    const whole = `before ${CANARY} after`
    for (let cut = 0; cut <= whole.length; cut++) {
      const script: Script = async (context) => {
        await secretOf(context)
        for (const piece of [whole.slice(0, cut), whole.slice(cut)]) {
          await context.output.write('stdout', Buffer.from(piece))
          await context.clock.sleep(1_000)
        }
        return { value: (await context.output.collect('stdout')).text }
      }
      const masked = everything(script, createRedactor())
      const result = await masked.run()
      assert.equal((result.data as { value: string }).value, `before ${MASK} after`, `cut at ${cut}`)
      assert.ok(!masked.text().includes(CANARY), `cut at ${cut}`)
    }
  })

  test('not in what the connection of a worker tells about itself', async () => {
    const build = (redactor: Redactor) =>
      createRuntimeFixture({
        redactor,
        worker: (probe) => ({
          ...probe,
          connect: async (context) => {
            const secret = (await context.secrets.resolve('env:CANARY')).reveal()
            return { stats: () => ({ user: secret, [secret]: 1 }), close: async () => undefined }
          },
        }),
      })
    const health = async (redactor: Redactor) => {
      const fixture = build(redactor)
      await fixture.run(fixture.call('probe.script'))
      return JSON.stringify(await fixture.control('worker_health', {}))
    }
    assert.ok(!(await health(createRedactor())).includes(CANARY))
    assert.ok((await health(blind())).includes(CANARY))
  })

  test('not in an error that comes before there is a run', async () => {
    const failing = (redactor: Redactor) => {
      redactor.add(CANARY)
      return createRuntimeFixture({
        redactor,
        checkDisk: async () => {
          throw mhvError('MHV_DISK_LOW', `at ${CANARY}`, {
            details: { at: CANARY },
            remedy: `see ${CANARY}`,
            cause: CANARY,
          })
        },
      })
    }
    const seen = async (redactor: Redactor) => {
      const error = await failing(redactor).call('probe.script').catch(toMhvError)
      return JSON.stringify([
        error,
        (error as Error).message,
        (error as { remedy?: string }).remedy,
        (error as Error).cause,
      ])
    }
    assert.ok(!(await seen(createRedactor())).includes(CANARY))
    assert.ok((await seen(blind())).includes(CANARY))
  })

  test('not in the audit trail of a cancellation', async () => {
    const clock = createFakeClock(0)
    const redactor = createRedactor()
    redactor.add(CANARY)
    const fixture = createRuntimeFixture({
      clock,
      redactor,
      script: (context) => context.clock.sleep(1e9, context.signal),
    })
    const { run_id } = await fixture.run(fixture.call('probe.script', {}, { wait: 0 }), 1)
    await fixture.run(fixture.control('run_cancel', { run_id, reason: `since ${CANARY}` }))
    const audit = JSON.stringify(await fixture.store.listAudit({ limit: 10 }))
    assert.ok(!audit.includes(CANARY))
    assert.match(audit, /since \[redacted\]/)
  })

  test('not in the state of a worker: that is refused, since a masked one would be another one', async () => {
    const script: Script = async (context) => {
      await context.state.set('password', { is: await secretOf(context) })
      return { value: 1 }
    }
    const masked = everything(script, createRedactor())
    assert.equal((await masked.run()).status, 'failed')
    assert.ok(!masked.text().includes(CANARY))
    const open = everything(script, blind())
    assert.equal((await open.run()).status, 'completed')
    assert.ok(open.text().includes(CANARY))
  })

  test('input with the value of a resolved secret is refused, in values, keys and the envelope', async () => {
    const redactor = createRedactor()
    const fixture = createRuntimeFixture({ redactor })
    await fixture.run(fixture.call('probe.touch', { value: CANARY }, { reason: 'before it was known' }))
    redactor.add(CANARY)
    const calls = [
      fixture.call('probe.touch', { value: `a${CANARY}b` }),
      fixture.call('probe.touch', { value: 'x' }, { reason: CANARY }),
      fixture.call('probe.touch', { value: 'x' }, { idempotency_key: CANARY }),
    ]
    for (const call of calls) {
      await assert.rejects(call, (error: Error & { code?: string; remedy?: string }) => {
        assert.equal(error.code, 'MHV_INPUT_SECRET')
        assert.match(error.remedy ?? '', /reference/)
        return true
      })
    }
    assert.equal(fixture.ledger.calls.length, 1)
  })
})
