import type { OperationContext } from '../../../core/context.ts'
import type { PoolCall, SshPool } from '../pool.ts'
import type { SshSettings, SshTarget } from '../settings.ts'
import type { Budget, Buffers } from './flow.ts'
import type { FolderRef } from './local-folders.ts'
import type { Meter } from './meter.ts'
import type { Pace } from './pace.ts'
import type { RemoteFiles } from './remote-files.ts'
import type { SmallFiles } from './small-files.ts'
import type { TransferInput } from './transfer.ts'

export type TransferContext = OperationContext<SshPool, SshSettings, SshTarget>

/** One file, link or folder to be brought over, and where to. */
export interface Item {
  readonly kind: 'file' | 'symlink' | 'directory'
  /** As people wrote it, or as it follows from that. */
  readonly local: string
  readonly remote: string
  /** The folder that the local side lies in, and its name there. */
  readonly folder: FolderRef
  readonly name: string
  /** Bytes, as the listing says. */
  readonly size: number
  /** Seconds since the epoch, as the listing says. */
  readonly mtime: number
  /** Permission bits of the source, as the listing says; undefined where it says none. */
  readonly mode: number | undefined
  /** What a link says. */
  readonly link?: string
}

/** Something that is not brought over, and why. */
export interface Skipped {
  readonly local: string
  readonly remote: string
  readonly reason: string
}

export interface Plan {
  readonly items: readonly Item[]
  readonly skipped: readonly Skipped[]
}

/** What all files of a transfer share. */
export interface Transfer {
  readonly ctx: TransferContext
  readonly input: TransferInput
  readonly call: PoolCall
  /** SFTP sessions, at least one; files are spread over them. */
  readonly lanes: readonly RemoteFiles[]
  /** `host:port`, for messages. */
  readonly endpoint: string
  readonly signal: AbortSignal
  readonly budget: Budget
  readonly buffers: Buffers
  /** The thread for small files, where there are many of them. */
  readonly small: SmallFiles | undefined
  readonly meter: Meter
  readonly pace: Pace
  /** Whether the far side makes things durable; `unsupported` where it was asked for and cannot be. */
  readonly durable: boolean
  /** The host has no program for SHA-256: its files are read back. */
  readonly readBack: boolean
  /** By remote folder: the permission bits that its new files have been seen to keep. */
  readonly keptModes: Map<string, number>
  /** Things that somebody should know, each once. */
  note(text: string): void
}

/** A file whose content has arrived under its temporary name. */
export interface Staged {
  readonly item: Item
  readonly temp: string
  readonly bytes: number
  /** Of what was sent or received. */
  readonly sha256: string
  readonly resumedFrom: number
  readonly began: number
  /** Removes the temporary file; never rejects. */
  discard(): Promise<void>
  /** Puts it in its place; `false` where the target exists and must not be replaced. */
  place(): Promise<boolean>
}
