/** What a simulated device does, and what it has seen. It knows nothing of connections: it is given what it sends with. */

/** How a device answers a command. */
export const COMMAND_BEHAVIOURS = [
  'acknowledge',
  'reject',
  /** Says nothing: it is lost. */
  'ignore',
  /** Answers after `late_ms`. */
  'late',
  /** Answers three times. */
  'duplicate',
  /** Answers with what is no answer. */
  'garbage',
  /** Names another device in its answer. */
  'impostor',
] as const
export type CommandBehaviour = (typeof COMMAND_BEHAVIOURS)[number]

/** How an update ends. */
export const OTA_BEHAVIOURS = [
  'update',
  'fail_downloading',
  'fail_verified',
  'fail_installing',
  /** Never reports. */
  'silent',
  /** Reports that it is downloading, and then nothing. */
  'stuck',
  /** Says that it is updated, and names another version. */
  'wrong_version',
  /** Reports each state twice, and old ones after new ones. */
  'disorder',
  /** Reports what is no report, and names other devices, before it updates. */
  'hostile',
] as const
export type OtaBehaviour = (typeof OTA_BEHAVIOURS)[number]

export interface DeviceBehaviour {
  readonly command?: CommandBehaviour
  readonly ota?: OtaBehaviour
  readonly late_ms?: number
  /** Milliseconds between two states of an update. */
  readonly step_ms?: number
  /** Whether the broker keeps its reports; a device of the documentation does so. */
  readonly retain_reports?: boolean
}

export interface ReceivedCommand {
  readonly topic: string
  readonly payload: Uint8Array
  readonly response_topic?: string
  readonly correlation_data?: Buffer
}

export interface SentByDevice {
  readonly topic: string
  readonly payload: string
  readonly retain?: boolean
  readonly correlation_data?: Buffer
}

/** A device. Its facts are what tests count by. */
export interface SimulatedDevice {
  readonly id: string
  /** Ids of the commands that it was sent, with every repetition. */
  readonly commands: string[]
  /** Ids of the roll-outs that it was told of, with every repetition. */
  readonly told: string[]
  /** How often it was told of a roll-out that it had ended, by its own account. */
  readonly toldAfterEnd: () => number
  /** Installations that it has begun. */
  readonly installs: () => number
  readonly version: () => string
  onCommand(received: ReceivedCommand): void
  onOta(received: ReceivedCommand): void
  /** Stops what goes on by itself. */
  stop(): void
}

interface Update {
  readonly rollout_id: string
  readonly version: string
  readonly sha256: string
  state: string
  message?: string
}

const STEP_MS = 20
const STATES = ['notified', 'downloading', 'verified', 'installing'] as const
const GARBAGE = [
  '',
  'no JSON',
  '[]',
  '{"status":"perhaps"}',
  '{"__proto__":{"status":"ok"}}',
  '\u0000\u001b[2J',
] as const

export function createSimulatedDevice(
  id: string,
  behaviour: DeviceBehaviour,
  send: (message: SentByDevice) => void,
): SimulatedDevice {
  const { command = 'acknowledge', ota = 'update', late_ms = 500, step_ms = STEP_MS, retain_reports = true } = behaviour
  const commands: string[] = []
  const told: string[] = []
  const timers = new Set<NodeJS.Timeout>()
  let version = '1.0.0'
  let installs = 0
  let toldAfterEnd = 0
  let update: Update | undefined

  function after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms)
    timers.add(timer)
  }

  function report(state: string, more: Readonly<Record<string, unknown>> = {}, retain = retain_reports): void {
    const { rollout_id } = update ?? { rollout_id: '' }
    const payload = JSON.stringify({ device_id: id, rollout_id, state, ...more })
    send({ topic: `mahavishnu/ota/${id}/state`, payload, retain })
  }

  function tellAgain(): void {
    if (update === undefined || ota === 'silent') return
    const { state, message, version: wanted } = update
    const end = state === 'updated' ? { version: wanted } : {}
    report(state, { ...end, ...(message === undefined ? {} : { message }) })
  }

  function enter(state: string, more: Readonly<Record<string, unknown>> = {}): void {
    if (update === undefined) return
    update.state = state
    if (state === 'installing') installs += 1
    report(state, more)
    if (ota !== 'disorder') return
    report(state, more)
    report('downloading', {}, false)
  }

  function failAt(state: string): boolean {
    if (ota !== `fail_${state}` || update === undefined) return false
    update.message = `no luck while ${state}`
    enter('failed', { message: update.message })
    return true
  }

  function step(at: number): void {
    if (update === undefined) return
    const state = STATES[at]
    if (state !== undefined) {
      enter(state)
      if (failAt(state) || (ota === 'stuck' && state === 'downloading')) return
      after(step_ms, () => step(at + 1))
      return
    }
    version = ota === 'wrong_version' ? '0.0.1' : update.version
    enter('updated', { version, sha256: update.sha256 })
  }

  function misbehave(): void {
    const topic = `mahavishnu/ota/${id}/state`
    const { rollout_id = '', version: wanted = '' } = update ?? {}
    const as = (more: object) => JSON.stringify({ rollout_id, state: 'updated', version: wanted, ...more })
    const lies = [
      ...GARBAGE,
      as({ device_id: 'another' }),
      as({ rollout_id: 'another' }),
      as({ version: { toString: 'x' } }),
      as({ sha256: {} }),
      `{"rollout_id":"${rollout_id}","state":"updated"}`,
      '['.repeat(50_000),
      JSON.stringify({ rollout_id, state: 'updated', version: wanted, fill: 'x'.repeat(100_000) }),
    ]
    for (const payload of lies) send({ topic, payload })
  }

  return {
    id,
    commands,
    told,
    toldAfterEnd: () => toldAfterEnd,
    installs: () => installs,
    version: () => version,
    onCommand({ payload, response_topic, correlation_data }) {
      const { command_id = '' } = read(payload)
      commands.push(String(command_id))
      const topic = response_topic ?? `mahavishnu/acks/${id}/${command_id}`
      const answer = (body: Readonly<Record<string, unknown>>) => {
        const repeated = { device_id: id, command_id, ...body }
        send({
          topic,
          payload: JSON.stringify(repeated),
          ...(correlation_data === undefined ? {} : { correlation_data }),
        })
      }
      switch (command) {
        case 'acknowledge':
          return answer({ status: 'ok' })
        case 'reject':
          return answer({ status: 'rejected', message: 'not now' })
        case 'late':
          return after(late_ms, () => answer({ status: 'ok' }))
        case 'duplicate':
          for (let time = 0; time < 3; time++) answer({ status: 'ok' })
          return undefined
        case 'garbage':
          for (const text of GARBAGE.slice(1)) send({ topic, payload: text })
          return undefined
        case 'impostor':
          return answer({ status: 'ok', device_id: 'another' })
        case 'ignore':
          return undefined
      }
    },
    onOta({ payload }) {
      const { rollout_id, version: wanted, sha256 } = read(payload)
      told.push(String(rollout_id))
      if (update?.rollout_id === rollout_id) {
        if (update?.state === 'updated' || update?.state === 'failed') toldAfterEnd += 1
        return tellAgain()
      }
      update = { rollout_id: String(rollout_id), version: String(wanted), sha256: String(sha256), state: 'notified' }
      if (ota === 'silent') return undefined
      if (ota === 'hostile') misbehave()
      // Whoever runs it already has nothing to install.
      step(version === update.version ? STATES.length : 0)
    },
    stop() {
      for (const timer of timers) clearTimeout(timer)
      timers.clear()
    },
  }
}

function read(payload: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(Buffer.from(payload).toString('utf8')) as Readonly<Record<string, unknown>>
  } catch {
    return {}
  }
}
