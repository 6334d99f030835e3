import type { MetricSample, MetricSpec } from '../../../core/metric.ts'
import { ANSWER_PROBLEMS, type AnswerProblem } from './answer.ts'
import { COMMAND_STATES, type CommandState } from './command-table.ts'

const OTA_ENDS = ['updated', 'failed'] as const
export type OtaEnd = (typeof OTA_ENDS)[number]

export const deviceMetrics: readonly MetricSpec[] = [
  {
    name: 'mqtt_device_commands_total',
    kind: 'counter',
    help: 'Commands to devices by what became of them.',
    labels: { outcome: COMMAND_STATES },
  },
  {
    name: 'mqtt_ota_devices_total',
    kind: 'counter',
    help: 'Devices whose update has ended.',
    labels: { end: OTA_ENDS },
  },
  {
    name: 'mqtt_device_messages_refused_total',
    kind: 'counter',
    help: 'Answers and reports of devices that were not believed: not readable, from another device, to something else.',
    labels: { reason: ANSWER_PROBLEMS },
  },
]

/** Counts what devices do. Labels are these words, never an id. */
export interface DeviceMeter {
  onCommands(counts: Readonly<Record<CommandState, number>>): void
  onOta(end: OtaEnd): void
  onRefused(reason: AnswerProblem): void
  samples(): MetricSample[]
}

export function createDeviceMeter(): DeviceMeter {
  const commands = new Map<CommandState, number>()
  const ends = new Map<OtaEnd, number>()
  const refused = new Map<AnswerProblem, number>()
  const add = <K>(counts: Map<K, number>, key: K, more: number) => counts.set(key, (counts.get(key) ?? 0) + more)
  const samples = (name: string, label: string, counts: ReadonlyMap<string, number>): MetricSample[] =>
    [...counts].map(([key, value]) => ({ name, labels: { [label]: key }, value }))
  return {
    onCommands(counts) {
      for (const state of COMMAND_STATES) if (counts[state] > 0) add(commands, state, counts[state])
    },
    onOta: (end) => void add(ends, end, 1),
    onRefused: (reason) => void add(refused, reason, 1),
    samples: () => [
      ...samples('mqtt_device_commands_total', 'outcome', commands),
      ...samples('mqtt_ota_devices_total', 'end', ends),
      ...samples('mqtt_device_messages_refused_total', 'reason', refused),
    ],
  }
}
