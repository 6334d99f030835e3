import type { CoreSettings } from '../config/schema.ts'
import type { Logger, Principal } from '../core/context.ts'
import type { Registry } from '../core/registry.ts'
import type { ControlRequest } from './call-control.ts'
import type { FollowItem, FollowRequest } from './follow.ts'
import type { Invoke } from './runtime.ts'
import type { ServiceManager } from './service-manager.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why not; short, without names of targets or paths. */
  readonly reasons: readonly string[]
}

/** An instance as surfaces see it: opened, and closed, by the composition root. */
export interface Instance {
  readonly registry: Registry
  readonly folder: string
  readonly log: Logger
  /** Whoever runs this process. */
  readonly principal: Principal
  readonly invoke: Invoke
  /** The control calls: `run_get`, `worker_list`, … Answers with the call's output, redacted. */
  control(request: ControlRequest): Promise<Record<string, unknown>>
  /** Follows a run: its events, its output, its progress, its end. Allowed to whoever may see the run. */
  follow(request: FollowRequest & { readonly principal: Principal }): AsyncGenerator<FollowItem, void, void>
  /** All metrics in the text format of Prometheus. */
  metrics(): Promise<string>
  /** Whether it takes new runs: the journal answers, the disk has room, it is not stopping. */
  readiness(): Promise<Readiness>
  /** Targets of the inventory that this worker can act on; all of them without a worker. */
  targetNames(worker?: string): readonly string[]
  /** Settings `manager.*`: what the spawned workers of one client may hold. */
  readonly managerLimits: CoreSettings['manager']
  /** Masks the secrets that this process has resolved, for what is printed beside results. */
  redact<T>(value: T): T
  /** Ends what runs, journals it, and lets the folder go. */
  close(): Promise<void>
}

/** An instance of this process: it holds the folder, and whoever opened it says how it is run. */
export interface OpenInstance extends Instance {
  /** Starts the workers of the setting `startup.workers`; until they are up, it is not ready. */
  begin(): void
  /** What systemd is told, where it has started this process. */
  readonly serviceManager: ServiceManager
  /** With `drain`, runs get the time of `runs.drain_timeout` to end by themselves before they are cancelled. */
  close(options?: { readonly drain?: boolean }): Promise<void>
}

export interface InstanceOptions {
  /** Folder of the instance; default: MAHAVISHNU_HOME, else the XDG data folder. */
  readonly folder?: string | undefined
  /** Settings of the command line, by their dotted key. */
  readonly set?: Readonly<Record<string, string>>
  /** For a command, which tells by itself what went wrong: only errors are logged where no setting says otherwise. */
  readonly terse?: boolean
  /** What this process does, for whoever finds the folder locked. */
  readonly doing: string
}

/** How surfaces come by an instance. The composition root gives both. */
export interface Instances {
  /** Takes the lock, reconciles what a crash left, accepts operations. Throws MHV_INSTANCE_LOCKED. */
  open(options: InstanceOptions): Promise<OpenInstance>
  /** The instance that is running on this folder, over its socket, when there is one; else as `open`. */
  use(options: InstanceOptions): Promise<Instance>
  /** Reads the journal only, without the lock; operations and calls that need a running instance are refused. */
  read(options: InstanceOptions): Promise<Instance>
  /** The instance that is running on this folder, over its socket, when there is one; else as `read`. */
  look(options: InstanceOptions): Promise<Instance>
}
