import { EXIT } from '../../core/error-table.ts'
import { RESULT_FORMAT, type WorkerResult } from '../../core/result.ts'
import type { Instance } from '../../runtime/instance.ts'
import { plainText } from '../plain-text.ts'
import type { DemoDevices, Invocation } from './commands.ts'
import { endingOf, errorOfResult, errorText } from './failure.ts'
import { notBegun, type Session, withInstance } from './session.ts'

type Call = Extract<Invocation, { kind: 'demo-mqtt' }>

interface Step {
  readonly title: string
  readonly operation: string
  readonly input: Readonly<Record<string, unknown>>
}

/** Lines of an output that are shown. */
const SHOWN_LINES = 6
/** Devices that are updated; the third of them fails, and may. */
const OTA_DEVICES = 20
const STATUS_DEVICES = 3
/** SHA-256 of nothing: no device of the demo loads anything. */
const NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** What the demo does, in its order. */
function stepsOf({ ids, firmware_folder }: DemoDevices, seconds: number): readonly Step[] {
  const command: Step = {
    title: 'one command to all devices',
    operation: 'mqtt.publish_to_devices',
    input: { device_ids: ids, command: { action: 'ping' }, seconds: Math.min(2, seconds) },
  }
  const status: Step = {
    title: 'the state of some, and of one that nobody knows',
    operation: 'mqtt.device_status',
    input: { device_ids: [...ids.slice(0, STATUS_DEVICES), 'demo-nobody'] },
  }
  if (firmware_folder === null) return [command, status]
  const ota: Step = {
    title: 'new firmware for some of them, five at a time',
    operation: 'mqtt.trigger_ota',
    input: {
      device_ids: ids.slice(0, OTA_DEVICES),
      firmware_url: `${firmware_folder}demo.bin`,
      firmware_version: '2.0.0',
      size: 1,
      sha256: NOTHING,
      concurrency: 5,
      failure_limit: 1,
      first_report_seconds: Math.min(10, seconds),
      device_seconds: Math.min(30, seconds),
    },
  }
  return [command, status, ota]
}

/** Simulated devices, and what can be done with them. Resolves with the exit code. */
export async function runMqttDemo(session: Session, { target, devices, seconds, globals }: Call): Promise<number> {
  const { app, out, interrupt } = session
  const demo = await app.demos.mqtt(globals.place, { target, devices })
  const done: { readonly title: string; readonly result: WorkerResult }[] = []
  const telemetry = setInterval(() => void demo.measure(), 1_000)
  try {
    out.note(`${demo.ids.length} simulated devices are connected to ${demo.url}`)
    // Not waited for: a broker that is gone by now is what the first step tells.
    void demo.measure()
    await withInstance(session, 'use', `demo mqtt ${target}`, async (instance) => {
      for (const step of stepsOf(demo, seconds)) {
        if (interrupt.aborted) throw notBegun()
        const result = await runStep(session, instance, { target, seconds, step })
        done.push({ title: step.title, result })
        if (!globals.json) showStep(session, step, result)
      }
    })
    if (demo.firmware_folder === null) {
      out.note('no update is shown: mqtt.ota.allowed_urls names no folder that firmware may come from')
    }
  } finally {
    clearInterval(telemetry)
    await demo.close()
  }
  if (globals.json) {
    const steps = done.map(({ title, result }) => ({ title, result }))
    out.document({ target, devices: demo.ids.length, steps, metadata: { format: RESULT_FORMAT } })
  }
  // That not every device says yes is what it shows; that a step fails is not.
  const failed = done.find(({ result }) => result.status !== 'completed')
  return failed === undefined ? EXIT.ok : endingOf(failed.result).exit
}

function runStep(
  { interrupt }: Session,
  instance: Instance,
  { target, seconds, step }: { readonly target: string; readonly seconds: number; readonly step: Step },
): Promise<WorkerResult> {
  const { operation, input } = step
  const envelope = { target, timeout: seconds, wait: seconds + 10 }
  return instance.invoke({
    operation,
    input,
    envelope,
    principal: instance.principal,
    surface: 'cli',
    signal: interrupt,
  })
}

function showStep({ out }: Session, { title, operation }: Step, result: WorkerResult): void {
  out.say(`\n${title} (${operation})`)
  const lines = plainText(result.output ?? '').split('\n')
  for (const line of lines.slice(0, SHOWN_LINES)) out.say(`  ${line}`)
  if (lines.length > SHOWN_LINES) out.say(`  … and ${lines.length - SHOWN_LINES} lines more`)
  const error = errorOfResult(result)
  if (error !== null) out.complain(errorText(error))
  out.note(`  run ${result.run_id}`)
}
