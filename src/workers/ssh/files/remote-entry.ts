import { z } from 'zod'
import { visibleName } from '../../../core/visible-text.ts'
import type { RemoteFacts } from '../transfer/remote-files.ts'

export const KINDS = ['file', 'directory', 'symlink', 'other'] as const

/** One file or folder of a host, as results show it. */
export const remoteEntry = z.object({
  path: z.string().describe('path on the host; relative ones start in the home folder'),
  kind: z.enum(KINDS).describe('of the entry itself: a link is a symlink, whatever it points at'),
  bytes: z.number().int().describe('size as the server tells it'),
  mode: z.string().nullable().describe('permission bits in octal: 0644; null where the server told none'),
  modified: z.string().describe('time of the last change of the content, ISO 8601, whole seconds'),
})

export type RemoteEntryData = z.output<typeof remoteEntry>

/** Latest time that a Date can hold, in seconds. */
const LAST_TIME = 8_640_000_000_000

export function entryData(path: string, { kind, size, mode, mtime }: RemoteFacts): RemoteEntryData {
  const seconds = Number.isFinite(mtime) ? Math.min(Math.max(mtime, 0), LAST_TIME) : 0
  return {
    path,
    kind,
    bytes: size,
    mode: mode === undefined ? null : octal(mode),
    modified: new Date(seconds * 1000).toISOString().replace('.000Z', 'Z'),
  }
}

/** `0644` */
export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0')
}

/** One line for people: mode, size, time, path, with what nobody would see in it made visible. */
export function entryLine({ path, kind, bytes, mode, modified }: RemoteEntryData): string {
  const letter = { file: '-', directory: 'd', symlink: 'l', other: '?' }[kind]
  return `${letter}${mode ?? '????'} ${String(bytes).padStart(12)} ${modified} ${visibleName(path)}`
}
