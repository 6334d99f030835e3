import { mhvError } from '../../../core/errors.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { type MqttContext, sessionOf } from '../context.ts'
import { isImpostor, readAnswer } from './answer.ts'
import type { CommandPlan, DeviceCommandData, DeviceCommandInput } from './command-shape.ts'
import { type CommandTable, createCommandTable } from './command-table.ts'
import { cutShort } from './cut-short.ts'
import { sendCommands } from './send-commands.ts'

/** Milliseconds that are left for the result before the deadline of the run. */
const BEFORE_DEADLINE_MS = 1_000
/** Least time between two reports of progress, in milliseconds. */
const PROGRESS_MS = 500
/** Lines of the table that are written at once. */
const LINES = 1_000

interface Ignored {
  duplicates: number
  invalid: number
  impostors: number
  strays: number
}

/**
 * Sends a command and gathers the answers until all have come or the time is over. Throws what kept it from every device,
 * MHV_MQTT_CUT_SHORT where answers cannot be heard any more, and the reason of the signal; the table is in the output by
 * then.
 */
export async function runCommand(
  ctx: MqttContext,
  call: DeviceCommandInput,
  plan: CommandPlan,
): Promise<DeviceCommandData> {
  const { clock, signal } = ctx
  const { device_ids } = call
  const session = sessionOf(ctx)
  const table = createCommandTable(device_ids)
  const ignored: Ignored = { duplicates: 0, invalid: 0, impostors: 0, strays: 0 }
  const over = Promise.withResolvers<void>()
  const stop = new AbortController()
  const finish = () => {
    stop.abort(mhvError('MHV_RUN_TIMEOUT', 'the time for sending is over'))
    over.resolve()
  }
  const onAbort = () => finish()
  let progressed = clock.monotonic()
  function changed(): void {
    if (table.open() === 0) over.resolve()
    if (clock.monotonic() - progressed < PROGRESS_MS) return
    progressed = clock.monotonic()
    void ctx.progress({ progress: device_ids.length - table.open(), total: device_ids.length }).catch(() => undefined)
  }

  await session.ready(signal)
  const subscription = await session.subscribe(plan.answers.filter, {
    qos: call.qos === 0 ? 0 : 1,
    retained: false,
    signal,
    onMessage(message) {
      take(ctx, { table, ignored, plan, message })
      changed()
    },
  })
  // Whoever could not be heard any more would seem silent.
  let unheard: unknown
  subscription.closed.catch((error: unknown) => {
    unheard = error
    finish()
  })
  signal.addEventListener('abort', onAbort, { once: true })
  const stopDeadline = clock.after(ctx.deadline - clock.now() - BEFORE_DEADLINE_MS, finish)
  const began = clock.monotonic()
  let stopWaiting: () => void = () => undefined
  try {
    const failure = await sendCommands(
      {
        session,
        clock,
        table,
        changed,
        devices: device_ids.length,
        rate: ctx.settings.throttling.max_publish_rate,
        expiry_seconds: call.expiry_seconds,
        message: (index, left) => plan.message(device_ids[index] ?? '', left),
      },
      AbortSignal.any([signal, stop.signal]),
    )
    if (failure !== null && table.counts().not_sent === device_ids.length) throw failure
    stopWaiting = clock.after(call.seconds * 1000, finish)
    await over.promise
    for (let index = 0; index < device_ids.length; index++) table.end(index, 'timed_out')
    signal.throwIfAborted()
    if (unheard !== undefined) throw cutShort(unheard)
    return resultOf(call, plan, {
      table,
      ignored,
      seconds: (clock.monotonic() - began) / 1000,
      endpoint: session.endpoint(),
    })
  } finally {
    stopDeadline()
    stopWaiting()
    signal.removeEventListener('abort', onAbort)
    for (let index = 0; index < device_ids.length; index++) table.end(index, 'timed_out')
    ctx.connection.devices.onCommands(table.counts())
    await subscription.close()
    await writeTable(ctx, table)
  }
}

interface Taken {
  readonly table: CommandTable
  readonly ignored: Ignored
  readonly plan: CommandPlan
  readonly message: IncomingMessage
}

function take({ clock, settings, connection }: MqttContext, { table, ignored, plan, message }: Taken): void {
  const device_id = plan.answers.deviceOf(message.topic)
  const index = device_id === null ? undefined : table.indexOf(device_id)
  if (device_id === null || index === undefined || !table.wasHanded(index)) {
    ignored.strays += 1
    connection.devices.onRefused('stray')
    return
  }
  if (isImpostor(message, device_id, settings.identity)) {
    ignored.impostors += 1
    connection.devices.onRefused('impostor')
    return
  }
  const answer = readAnswer(message, plan)
  switch (answer.is) {
    case 'stray':
      ignored.strays += 1
      connection.devices.onRefused('stray')
      return
    case 'invalid':
      ignored.invalid += 1
      connection.devices.onRefused('invalid')
      return
    case 'acknowledged':
    case 'rejected':
      if (table.end(index, answer.is, clock.monotonic(), answer.message)) return
      ignored.duplicates += 1
  }
}

interface Found {
  readonly table: CommandTable
  readonly ignored: Ignored
  readonly seconds: number
  readonly endpoint: string | null
}

function resultOf({ device_ids, rows }: DeviceCommandInput, plan: CommandPlan, found: Found): DeviceCommandData {
  const { table, ignored, seconds, endpoint } = found
  const times = table.times()
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0
  return {
    command_id: plan.command_id,
    devices: device_ids.length,
    sent: table.sent(),
    ...table.counts(),
    ignored,
    seconds,
    answer_seconds: times.length === 0 ? null : { p50: at(0.5), p95: at(0.95), max: at(1) },
    table: [...firstOf(table.rows(true), rows)],
    complete: rows >= device_ids.length,
    endpoint,
  }
}

function* firstOf<T>(all: Iterable<T>, most: number): Iterable<T> {
  let given = 0
  for (const each of all) {
    if (given === most) return
    given += 1
    yield each
  }
}

/** One line for each device, as the call names them: id, state, seconds, message. */
async function writeTable({ output, log }: MqttContext, table: CommandTable): Promise<void> {
  let lines: string[] = []
  const flush = async () => {
    if (lines.length > 0) await output.write('stdout', Buffer.from(lines.join('')))
    lines = []
  }
  try {
    for (const { device_id, state, seconds, message } of table.rows(false)) {
      lines.push(`${[device_id, state, seconds?.toFixed(3) ?? '-', message ?? ''].join('\t').trimEnd()}\n`)
      if (lines.length >= LINES) await flush()
    }
    await flush()
  } catch (error) {
    // The run has an outcome of its own, which this must not replace.
    log.warn('the table of a command could not be written', { error })
  }
}
