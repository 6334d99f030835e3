import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import type { MqttSession, OutgoingMessage, SubscribeOptions, Subscription } from '../client/mqtt-session.ts'
import { type MqttContext, sessionOf } from '../context.ts'
import { cutShort } from '../devices/cut-short.ts'
import { type DeviceTopics, deviceTopics, OTA_REPORT_TOPIC, OTA_TOPIC } from '../devices/device-topics.ts'
import { untilConnected } from '../devices/until-connected.ts'
import { createDeviceWatch } from './device-watch.ts'
import { type OtaData, type OtaInput, SHOWN_FAILURES } from './ota-shape.ts'
import type { Firmware } from './report.ts'
import { createReportReader, type DeviceReport, type ReportReader } from './report-reader.ts'
import { createRollout, type KeptDevice, type Rollout } from './rollout.ts'
import { beginRollout, createRolloutStore, forgetOldRollouts, readRollout } from './rollout-store.ts'
import { tellDevice } from './tell-device.ts'
import { writeRollout } from './write-rollout.ts'

/** Up to so many devices each has a subscription of its own; beyond that, one hears the reports of all devices. */
const OWN_FILTERS = 50
/** What the broker has kept is complete when nothing came for so long, or after the second time; in milliseconds. */
const QUIET_MS = 500
const KEPT_MS = 10_000
/** Pause before a device is told again that nobody could hand the message to, in milliseconds. */
const NOBODY_MS = 500
/** The run is another process's now, or will be. */
const GOES_ON: readonly string[] = ['MHV_SHUTTING_DOWN', 'MHV_RUN_INTERRUPTED']

/**
 * Runs a roll-out, or goes on with one of a process that is gone. What a device has on disk is never behind what it was told:
 * `notified` is written before it is told, and its place is given to another only when its end is written.
 *
 * Throws MHV_MQTT_OTA_STOPPED where more devices failed than may, what the journal throws (MHV_MQTT_CUT_SHORT where devices
 * were told by then), and the reason of the signal.
 */
export async function runRollout(ctx: MqttContext, call: OtaInput, firmware: Firmware): Promise<OtaData> {
  const { clock, signal, state, run_id } = ctx
  const session = sessionOf(ctx)
  const found = await readRollout(state, run_id)
  // With nothing done yet, a broker that is not there ends it; with devices under way it is waited for.
  await (found === null ? session.ready(signal) : untilConnected(session, clock, signal))
  if (found === null) {
    await forgetOldRollouts(state, clock.now())
    await beginRollout(state, run_id, ctx.deadline)
  }
  const began = clock.monotonic()
  const kept = new Map([...(found ?? [])].map(([place, device]) => [call.device_ids[place] ?? '', device]))
  const rollout = createRollout({ ...call, devices: call.device_ids, kept })
  const reports = createReportReader(ctx, call, firmware)
  try {
    await lead(ctx, call, { session, rollout, reports, firmware, resumed: found !== null })
  } catch (error) {
    const nobodyTold = rollout.counts().waiting === call.device_ids.length
    throw signal.aborted || nobodyTold ? error : cutShort(error)
  } finally {
    if (!GOES_ON.includes(toMhvError(signal.reason).code)) await writeRollout(ctx, call, rollout)
  }
  const seconds = (clock.monotonic() - began) / 1000
  return resultOf({ call, rollout, run_id, ignored: reports.ignored(), seconds, endpoint: session.endpoint() })
}

interface Parts {
  readonly session: MqttSession
  readonly rollout: Rollout
  readonly reports: ReportReader
  readonly firmware: Firmware
  readonly resumed: boolean
}

/** Leads a roll-out to its end: resolves when nobody is under way and nobody else is to be told. */
async function lead(ctx: MqttContext, call: OtaInput, parts: Parts): Promise<void> {
  const { clock, signal, connection } = ctx
  const { session, rollout, reports, firmware } = parts
  const places = new Map(call.device_ids.map((id, place) => [id, place]))
  const store = createRolloutStore(ctx.state, ctx.run_id)
  const topics = deviceTopics(OTA_TOPIC)
  const over = Promise.withResolvers<void>()
  const ended = new AbortController()
  const working = AbortSignal.any([signal, ended.signal])
  const fatal = (error: unknown) => over.reject(error)
  /** When the connection was made anew, perhaps to another broker. */
  let backAt = Number.NEGATIVE_INFINITY
  const stopListening = session.onConnected(() => {
    backAt = clock.monotonic()
  })
  const onAbort = () => fatal(signal.reason)
  /** Devices under way that have reported; those of an earlier process by what is on disk. */
  const heard = new Set(rollout.active().filter((id) => rollout.device(id)?.state !== 'notified'))
  const watch = createDeviceWatch({
    clock,
    limits: { first_report: call.first_report_seconds, whole: call.device_seconds },
    isConnected: () => session.state() === 'connected',
    onLate: fail,
  })

  function save(ids: readonly string[]): Promise<void> {
    const entries = ids.map((id): [number, KeptDevice] => [
      places.get(id) ?? 0,
      rollout.device(id) ?? { state: 'waiting', reason: null },
    ])
    return store.save(entries)
  }

  function end(id: string): void {
    watch.end(id)
    heard.delete(id)
    save([id]).then(() => {
      rollout.settled(id)
      connection.devices.onOta(rollout.device(id)?.state === 'updated' ? 'updated' : 'failed')
      const { updated, failed } = rollout.counts()
      void ctx.progress({ progress: updated + failed, total: places.size }).catch(() => undefined)
      pump()
    }, fatal)
  }

  function fail(id: string, why: string): void {
    if (rollout.report(id, 'failed', why) === 'ended') end(id)
  }

  function hear({ device_id, state, reason }: DeviceReport): void {
    heard.add(device_id)
    watch.heard(device_id)
    const outcome = rollout.report(device_id, state, reason)
    if (outcome === 'ended') end(device_id)
    else if (outcome === 'moved') save([device_id]).catch(fatal)
  }

  function pump(): void {
    if (working.aborted) return
    const taken = rollout.take()
    if (taken.length > 0) save(taken).then(() => tellAll(taken, false), fatal)
    if (rollout.over()) over.resolve()
  }

  function tellAll(ids: readonly string[], again: boolean): void {
    for (const id of ids) tell(id, again).catch((error: unknown) => (working.aborted ? undefined : fatal(error)))
  }

  async function tell(id: string, again: boolean): Promise<void> {
    const message = messageFor(ctx, call, firmware, topics, id)
    const underWay = () => !working.aborted && isUnderWay(rollout, id)
    let outcome = await tellDevice({ session, clock, message, underWay }, working)
    // After an outage devices come back at their own pace, which need not be ours.
    while (outcome.is === 'unreachable' && !again && clock.monotonic() - backAt < call.first_report_seconds * 1000) {
      await clock.sleep(NOBODY_MS, working)
      outcome = await tellDevice({ session, clock, message, underWay }, working)
    }
    if (outcome.is === 'refused') fail(id, outcome.why)
    // One that is told once more may be starting anew just now.
    else if (outcome.is === 'unreachable' && !again) fail(id, 'nobody subscribes to its topic')
    else if (outcome.is !== 'over') watch.begin(id, heard.has(id))
  }

  /** With devices under way, what time heals is waited for. */
  async function subscribeTo(filter: string, options: SubscribeOptions): Promise<Subscription> {
    for (;;) {
      try {
        return await session.subscribe(filter, options)
      } catch (error) {
        if (!parts.resumed || working.aborted || !toMhvError(error).spec.retryable) throw error
        await clock.sleep(QUIET_MS, working)
        await untilConnected(session, clock, working)
      }
    }
  }

  signal.addEventListener('abort', onAbort, { once: true })
  const subscriptions: Subscription[] = []
  try {
    signal.throwIfAborted()
    let cameAt = clock.monotonic()
    for (const filter of filtersOf(call.device_ids)) {
      const subscription = await subscribeTo(filter, {
        qos: 1,
        signal: working,
        onMessage(message) {
          cameAt = clock.monotonic()
          const report = reports.read(message, rollout)
          if (report !== null) hear(report)
        },
      })
      subscriptions.push(subscription)
      subscription.closed.catch(fatal)
    }
    if (parts.resumed) {
      // Devices may have ended meanwhile: their last reports are kept by the broker.
      const until = clock.monotonic() + KEPT_MS
      while (clock.monotonic() - cameAt < QUIET_MS && clock.monotonic() < until) await clock.sleep(QUIET_MS / 5, signal)
      tellAll(rollout.active(), true)
    }
    pump()
    await over.promise
  } finally {
    over.promise.catch(() => undefined)
    signal.removeEventListener('abort', onAbort)
    stopListening()
    ended.abort(mhvError('MHV_RUN_CANCELLED', 'the roll-out has ended here'))
    watch.close()
    await Promise.all(subscriptions.map((subscription) => subscription.close()))
  }
}

function isUnderWay(rollout: Rollout, id: string): boolean {
  const { state } = rollout.device(id) ?? { state: 'failed' }
  return state !== 'updated' && state !== 'failed'
}

function filtersOf(ids: readonly string[]): readonly string[] {
  const topics = deviceTopics(OTA_REPORT_TOPIC)
  return ids.length > OWN_FILTERS ? [topics.filter] : ids.map((id) => topics.topicOf(id))
}

/** The same text however often it is told: a device that knows the roll-out does not begin anew. */
function messageFor(
  { run_id }: MqttContext,
  { first_report_seconds }: OtaInput,
  firmware: Firmware,
  topics: DeviceTopics,
  id: string,
): OutgoingMessage {
  return {
    topic: topics.topicOf(id),
    payload: Buffer.from(JSON.stringify({ rollout_id: run_id, ...firmware })),
    qos: 1,
    retain: false,
    // Whoever did not report in time has failed, and must not begin later on.
    expiry_seconds: Math.max(1, Math.ceil(first_report_seconds)),
    content_type: 'application/json',
    response_topic: `${topics.topicOf(id)}/state`,
    correlation_data: Buffer.from(run_id),
  }
}

interface Found {
  readonly call: OtaInput
  readonly rollout: Rollout
  readonly run_id: string
  readonly ignored: OtaData['ignored']
  readonly seconds: number
  readonly endpoint: string | null
}

function resultOf({ call, rollout, run_id, ignored, seconds, endpoint }: Found): OtaData {
  const { updated, failed } = rollout.counts()
  const failures = call.device_ids
    .flatMap((device_id) => {
      const { state, reason } = rollout.device(device_id) ?? { state: 'waiting', reason: null }
      return state === 'failed' ? [{ device_id, reason: reason ?? 'it failed' }] : []
    })
    .slice(0, SHOWN_FAILURES)
  if (rollout.stopped()) throw stoppedError(call, rollout, failures)
  const { firmware_version, device_ids } = call
  const devices = device_ids.length
  return { rollout_id: run_id, firmware_version, devices, updated, failed, failures, ignored, seconds, endpoint }
}

function stoppedError(
  { failure_limit, device_ids }: OtaInput,
  rollout: Rollout,
  failures: OtaData['failures'],
): MhvError {
  const { updated, failed, waiting } = rollout.counts()
  const [first] = failures
  const why = first === undefined ? '' : `; ${first.device_id}: ${first.reason}`
  return mhvError(
    'MHV_MQTT_OTA_STOPPED',
    `${failed} of ${device_ids.length} devices failed, and ${failure_limit} may; ${updated} were updated and ${waiting} not told${why}`,
    {
      details: { devices: device_ids.length, updated, failed, waiting, failure_limit, failures: failures.slice(0, 20) },
    },
  )
}
