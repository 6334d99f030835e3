import type { Command } from 'commander'
import type { SettingExplanation, ShownSetting } from '../../config/explain.ts'
import type { WireError } from '../../core/errors.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import type { ControlCall } from '../../runtime/control.ts'
import type { InstanceOptions, Instances } from '../../runtime/instance.ts'
import type { Profile } from '../mcp/profiles.ts'
import type { Shell } from './completion-scripts.ts'
import type { Doctor } from './doctor.ts'
import type { McpClient } from './mcp-clients.ts'

/** What the command line is a surface of; the composition root has all of it. */
export interface CliApp {
  readonly registry: Registry
  readonly instances: Instances
  readonly doctor: Doctor
  readonly config: ConfigCalls
  readonly demos: Demos
}

/** Things to try out that are not there: each is made by its demo, and goes with it. */
export interface Demos {
  /** Simulated devices at the broker of a target. Throws what keeps them from it. */
  mqtt(place: InstancePlace, options: { readonly target: string; readonly devices: number }): Promise<DemoDevices>
}

export interface DemoDevices {
  readonly ids: readonly string[]
  /** The broker, without credentials. */
  readonly url: string
  /** Where firmware may come from, by the settings; null where it may come from nowhere. */
  readonly firmware_folder: string | null
  /** One reading of each device. */
  measure(): Promise<void>
  close(): Promise<void>
}

/** Where an instance is looked for, and the settings of the command line. */
export type InstancePlace = Pick<InstanceOptions, 'folder' | 'set'>

/** Questions about the configuration. None of them needs the lock. */
export interface ConfigCalls {
  /** Checks settings, inventory and policy; resolves also where something is wrong with them. */
  validate(place: InstancePlace): Promise<ConfigReport>
  /** Throws MHV_CONFIG_KEY_UNKNOWN, and what is wrong with a layer. */
  explain(place: InstancePlace, key: string): Promise<SettingExplanation>
  show(place: InstancePlace): Promise<readonly ShownSetting[]>
  /** JSON Schema of the settings file. */
  schema(): Promise<Readonly<Record<string, unknown>>>
  /** Names of the targets in the inventory that this worker can act on; of all without a worker. */
  targets(place: InstancePlace, worker?: string): Promise<readonly string[]>
  /** Absolute path of the instance folder, whether it is there or not. */
  folder(place: InstancePlace): Promise<string>
}

export interface ConfigReport {
  /** Every file that was looked at, lowest layer first. */
  readonly files: readonly { readonly what: string; readonly file: string; readonly present: boolean }[]
  /** One for each part that cannot be used; `details.problems` may list more than its message says. */
  readonly problems: readonly WireError[]
}

/** Options that every command has. */
export interface GlobalOptions {
  readonly place: InstancePlace
  readonly json: boolean
  readonly quiet: boolean
}

/** Options of commands that use the terminal they are called on. */
export interface TerminalOptions {
  readonly detachKey?: string
  /** How many times as fast as it was. */
  readonly speed?: number
  /** Most seconds between two pieces of output. */
  readonly idle?: number
}

/** What a command line asks for, taken apart and not yet done. */
export type Invocation = { readonly globals: GlobalOptions } & (
  | {
      readonly kind: 'operation'
      readonly operation: RegisteredOperation
      readonly input: Readonly<Record<string, unknown>>
      readonly envelope: Readonly<Record<string, unknown>>
      /** The field that standard input is to fill. */
      readonly stdin: string | null
      /** Whether the question before something is destroyed was answered on the command line. */
      readonly confirmed: boolean
      /** Of a command that does more with its own terminal than to show the result. */
      readonly terminal?: TerminalOptions
    }
  | {
      readonly kind: 'control'
      readonly control: ControlCall
      readonly input: Readonly<Record<string, unknown>>
      readonly confirmed: boolean
    }
  | { readonly kind: 'follow'; readonly run_id: string; readonly jsonl: boolean }
  | { readonly kind: 'doctor' | 'up' }
  | { readonly kind: 'demo-mqtt'; readonly target: string; readonly devices: number; readonly seconds: number }
  | { readonly kind: 'mcp'; readonly profile: Profile; readonly readOnly: boolean }
  | {
      readonly kind: 'mcp-config'
      readonly client: McpClient
      readonly http: boolean
      readonly profile: Profile
      readonly readOnly: boolean
    }
  | { readonly kind: 'completion'; readonly shell: Shell }
  /** The words before the cursor, the one at the cursor last, and the program that they are words of. */
  | { readonly kind: 'complete'; readonly program: Command; readonly words: readonly string[] }
  | { readonly kind: 'config'; readonly verb: 'validate' | 'show' | 'schema' }
  | { readonly kind: 'config'; readonly verb: 'explain'; readonly key: string }
)
