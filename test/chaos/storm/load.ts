import { setTimeout as delay } from 'node:timers/promises'
import { isFinal, type WorkerResult } from '../../../src/core/result.ts'
import { type Answer, type Ask, answerOf, openTcp } from '../../helpers/http-server.ts'
import { createRandom, type Random } from './random.ts'

/** One thing that a caller wants done, and carries through under one key whatever happens on the way. */
export interface Intent {
  /** The idempotency key, and the token of its effect. */
  readonly token: string
  readonly operation: 'far.append' | 'far.set' | 'far.read' | 'ssh.execute'
  readonly input: Readonly<Record<string, unknown>>
  readonly target: string
  readonly timeout: number
  readonly priority: 'critical' | 'normal' | 'low'
  /** Seconds that the call waits for its end; 0 for the handle only. */
  readonly wait: number
  /** Whether it is cancelled once it has a handle. */
  readonly cancelled: boolean
}

/** What a caller was told of a run. */
export interface Told {
  readonly run_id: string
  readonly status: WorkerResult['status']
  readonly certainty: WorkerResult['effect_certainty']
}

/** What became of the calls; the check holds it against the journal. */
export interface LoadLog {
  calls: number
  /** Calls whose connection broke, or that had no answer in time. */
  broken: number
  cancelled: number
  /** Refusals by their code. */
  readonly refused: Map<string, number>
  readonly told: Told[]
  readonly intents: Map<string, { readonly intent: Intent; readonly run_ids: Set<string>; final: boolean }>
  /** Answers that no caller should get. */
  readonly wrong: string[]
}

export interface LoadParts {
  readonly seed: number
  readonly callers: number
  /** Port of the process to call; null while there is none. */
  readonly port: () => number | null
  readonly token: string
  /** Shell command that appends a token and the id of its run to the ledger on the host; null without a host. */
  readonly sshCommand: ((token: string) => string) | null
}

/** Longest time without an answer, in milliseconds. */
const ANSWER_MS = 8_000
const PAUSE_MS = [40, 250] as const

/** Codes that say that the same call may be made again later, as every client of the program has to cope with. */
const PASSING =
  /^MHV_(ADMISSION_\w+|SHUTTING_DOWN|DISK_LOW|JOURNAL_\w+|INSTANCE_FENCED|NO_DESCRIPTORS|RUN_INTERRUPTED|HTTP_RATE_LIMITED)$/
/** What a letter may be refused a replay with. */
const NO_REPLAY = /^MHV_(DLQ_STATE|DLQ_ACKNOWLEDGE|DLQ_UNKNOWN)$/

export function createLoad(parts: LoadParts) {
  const log: LoadLog = {
    calls: 0,
    broken: 0,
    cancelled: 0,
    refused: new Map(),
    told: [],
    intents: new Map(),
    wrong: [],
  }
  const stop = new AbortController()
  const giveUp = new AbortController()

  /** One request to whoever serves now; null where there is nobody, or no whole answer. */
  async function ask(request: Ask, port = parts.port()): Promise<Answer | null> {
    log.calls += 1
    const headers = { authorization: `Bearer ${parts.token}` }
    const signal = AbortSignal.any([giveUp.signal, AbortSignal.timeout(ANSWER_MS)])
    try {
      if (port === null) throw new Error('nobody serves')
      return await answerOf(await openTcp(port, { ...request, headers, signal }))
    } catch {
      log.broken += 1
      return null
    }
  }

  function tell(run: WorkerResult, token?: string): void {
    log.told.push({ run_id: run.run_id, status: run.status, certainty: run.effect_certainty })
    const entry = token === undefined ? undefined : log.intents.get(token)
    entry?.run_ids.add(run.run_id)
    if (entry !== undefined && isFinal(run.status)) entry.final = true
  }

  function refusal({ status, json, text }: Answer, what: string, allowed: RegExp): string {
    const code = typeof json?.code === 'string' ? json.code : `status ${status}`
    log.refused.set(code, (log.refused.get(code) ?? 0) + 1)
    if (!allowed.test(code)) log.wrong.push(`${what} was refused with ${code}: ${text.slice(0, 300)}`)
    return code
  }

  function callOf({ operation, input, token, target, timeout, priority, wait }: Intent): Ask {
    const [worker, verb] = operation.split('.')
    const body = { input, target, timeout, priority, wait, idempotency_key: token }
    return { method: 'POST', path: `/v1/workers/${worker}/operations/${verb}`, body }
  }

  /** Calls again, with the same key, until it is told how the run has ended. */
  async function carryThrough(intent: Intent, random: Random): Promise<void> {
    let cancel = intent.cancelled
    while (!giveUp.signal.aborted) {
      const answer = await ask(callOf(intent))
      const run = answer?.json as WorkerResult | undefined
      if (answer === null) await pause(random)
      else if (typeof run?.run_id !== 'string') {
        refusal(answer, intent.operation, PASSING)
        await pause(random)
      } else {
        tell(run, intent.token)
        if (isFinal(run.status)) return
        if (cancel) await cancelRun(run.run_id)
        cancel = false
        if (await waitFor(run.run_id, intent.token)) return
      }
    }
  }

  /** As a client with a handle does; whether it was told the end. */
  async function waitFor(run_id: string, token: string): Promise<boolean> {
    const answer = await ask({ path: `/v1/runs/${run_id}/wait?seconds=3` })
    if (answer === null) return false
    if (answer.status !== 200) {
      refusal(answer, `waiting for ${run_id}`, PASSING)
      return false
    }
    const { run } = answer.json as { readonly run: WorkerResult }
    tell(run, token)
    return isFinal(run.status)
  }

  async function cancelRun(run_id: string): Promise<void> {
    const answer = await ask({ method: 'POST', path: `/v1/runs/${run_id}/cancel`, body: {} })
    if (answer?.status === 200) log.cancelled += 1
    else if (answer !== null) refusal(answer, `cancelling ${run_id}`, PASSING)
  }

  async function caller(number: number): Promise<void> {
    const random = createRandom(parts.seed * 1_000 + number)
    for (let n = 0; !stop.signal.aborted; n++) {
      const intent = drawIntent(`${parts.seed}-${number}-${n}`, random)
      log.intents.set(intent.token, { intent, run_ids: new Set(), final: false })
      // Now and then two at once, as an impatient client calls again before it has its answer.
      const times = random.chance(0.1) ? 2 : 1
      await Promise.all(Array.from({ length: times }, () => carryThrough(intent, random)))
      if (random.chance(0.3)) await pause(random)
    }
  }

  function drawIntent(token: string, random: Random): Intent {
    const drawn = random.unit()
    const operation = drawn < 0.5 ? 'far.append' : drawn < 0.7 ? 'far.set' : drawn < 0.85 ? 'far.read' : 'ssh.execute'
    const common = {
      token,
      timeout: random.chance(0.8) ? 20 : random.whole(2, 15) / 10,
      priority: random.pick(['critical', 'normal', 'normal', 'low'] as const),
      wait: random.chance(0.3) ? 0 : random.pick([0.05, 1, 5]),
      cancelled: random.chance(0.1),
    }
    const pause_ms = random.chance(0.1) ? random.whole(100, 1_500) : random.whole(0, 40)
    if (operation === 'ssh.execute' && parts.sshCommand !== null) {
      return { ...common, operation, target: 'host', input: { command: parts.sshCommand(token) } }
    }
    const far = operation === 'ssh.execute' ? 'far.append' : operation
    return { ...common, operation: far, target: 'far', input: { token, pause_ms } }
  }

  async function pause(random: Random): Promise<void> {
    await delay(random.whole(...PAUSE_MS), undefined, { signal: giveUp.signal }).catch(() => undefined)
  }

  /** Somebody who has the dead letters replayed, without looking what they did: what may have acted has to be refused. */
  async function replayer(): Promise<void> {
    const random = createRandom(parts.seed * 1_000 + 999)
    while (!stop.signal.aborted) {
      await delay(300, undefined, { signal: stop.signal }).catch(() => undefined)
      const list = await ask({ path: '/v1/dlq?state=open&limit=50' })
      const letters = list?.status === 200 ? (list.json.letters as readonly { letter_id: string }[]) : []
      if (letters.length === 0) continue
      const path = `/v1/dlq/${random.pick(letters).letter_id}/replay`
      const answer = await ask({ method: 'POST', path, body: { reason: 'storm' } })
      if (answer === null) continue
      if (answer.status !== 200) refusal(answer, path, new RegExp(`${PASSING.source}|${NO_REPLAY.source}`))
      else tell(answer.json.run as WorkerResult)
    }
  }

  const going = Promise.all([...Array.from({ length: parts.callers }, (_, number) => caller(number)), replayer()])
  return {
    log,
    ask,
    /** Makes no new calls; whether all callers were told their ends within so many milliseconds. */
    async finish(withinMs: number): Promise<boolean> {
      stop.abort()
      const late = setTimeout(() => giveUp.abort(), withinMs)
      await going
      clearTimeout(late)
      return !giveUp.signal.aborted
    },
    /** A few new calls at a process that another one has taken over from; what each got. They have to be refused. */
    async callStale(port: number, name: string): Promise<readonly string[]> {
      const calls = Array.from({ length: 4 }, async (_, n) => {
        const random = createRandom(n)
        const token = `${parts.seed}-${name}-${n}`
        const intent = {
          ...drawIntent(token, random),
          operation: 'far.append',
          target: 'far',
          input: { token },
          wait: 5,
        } as const
        const answer = await ask(callOf(intent), port)
        if (answer === null) return 'no answer'
        if (typeof answer.json?.run_id !== 'string') return refusal(answer, `a call at ${name}`, PASSING)
        tell(answer.json as WorkerResult)
        return `a run that is ${answer.json.status} (${answer.json.error_code})`
      })
      return Promise.all(calls)
    },
  }
}
export type Load = ReturnType<typeof createLoad>
