import { constants } from 'node:fs'
import { type FileHandle, glob, open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { outOfDescriptors, systemCode } from '../../../core/errors.ts'
import { type ConfigLine, parseSshConfig } from './parse.ts'

/** One file of ssh_config with all that it includes. */
export interface ConfigFile {
  readonly path: string
  readonly lines: readonly (ConfigLine & { readonly included?: readonly ConfigFile[] })[]
  /** Why it was not read, where it is there and was not. */
  readonly problem?: string
}

/** Bytes of one file, and of all of them together; a config made by people is far below. */
const MAX_FILE_BYTES = 256 * 1024
const MAX_ALL_BYTES = 1024 * 1024
const MAX_FILES = 100
/** As READCONF_MAX_DEPTH in OpenSSH's readconf.c. */
const MAX_DEPTH = 16

/** What a file held when it was last read, by its path. */
const cache = new Map<string, { readonly version: string; readonly lines: readonly ConfigLine[] }>()

interface Reading {
  files: number
  bytes: number
}

/**
 * Reads the files and what they include, in their order. A file that is not there is left out; one that is there and
 * cannot be used has a `problem`. Nothing is read again that has not changed. Throws MHV_NO_DESCRIPTORS only.
 */
export async function readConfigFiles(paths: readonly string[]): Promise<readonly ConfigFile[]> {
  const reading: Reading = { files: 0, bytes: 0 }
  const files: ConfigFile[] = []
  for (const path of paths) files.push(...(await readFileAt(path, reading, 0)))
  return files
}

async function readFileAt(path: string, reading: Reading, depth: number): Promise<ConfigFile[]> {
  const unusable = (problem: string) => [{ path, lines: [], problem }]
  if (depth > MAX_DEPTH) return unusable(`is included more than ${MAX_DEPTH} deep`)
  if (++reading.files > MAX_FILES) return unusable(`is one of more than ${MAX_FILES} files`)
  let lines: readonly ConfigLine[] | string | undefined
  try {
    lines = await linesOf(path, reading)
  } catch (error) {
    const ownFault = outOfDescriptors(error, path)
    if (ownFault) throw ownFault
    return unusable(`cannot be read (${systemCode(error) ?? 'unknown error'})`)
  }
  if (lines === undefined) return []
  if (typeof lines === 'string') return unusable(lines)
  const whole: ConfigFile['lines'][number][] = []
  for (const line of lines) {
    const included = line.keyword === 'include' ? await readIncluded(line, reading, depth) : undefined
    whole.push(included === undefined ? line : { ...line, included })
  }
  return [{ path, lines: whole }]
}

/** The lines of a file, from memory where it has not changed; a text says why it is not used. */
async function linesOf(path: string, reading: Reading): Promise<readonly ConfigLine[] | string | undefined> {
  let file: FileHandle
  try {
    // Without O_NONBLOCK a named pipe would hold up a thread of the pool until somebody writes to it.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const stats = await file.stat()
    if (!stats.isFile()) return 'is no regular file'
    // As OpenSSH does: whoever may write here says where we connect to and which known_hosts counts.
    if (process.getuid !== undefined && stats.uid !== 0 && stats.uid !== process.getuid())
      return 'is owned by another user'
    if ((stats.mode & 0o022) !== 0) return 'may be written by others (chmod go-w)'
    reading.bytes += stats.size
    if (stats.size > MAX_FILE_BYTES) return `is larger than ${MAX_FILE_BYTES} bytes`
    if (reading.bytes > MAX_ALL_BYTES) return `is beyond the ${MAX_ALL_BYTES} bytes that all files may have together`
    const version = [stats.dev, stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join()
    const known = cache.get(path)
    if (known?.version === version) return known.lines
    const lines = parseSshConfig(await readText(file))
    if (cache.size >= MAX_FILES) cache.clear()
    cache.set(path, { version, lines })
    return lines
  } finally {
    await file.close()
  }
}

/** Not beyond the bound, even if the file grows meanwhile. */
async function readText(file: FileHandle): Promise<string> {
  const bytes = Buffer.alloc(MAX_FILE_BYTES)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length)
    length += bytesRead
    if (bytesRead === 0 || length === bytes.length) return bytes.toString('utf8', 0, length)
  }
}

/** Patterns are files of ~/.ssh unless they are absolute; those of one pattern come in the order of their names. */
async function readIncluded(line: ConfigLine, reading: Reading, depth: number): Promise<ConfigFile[]> {
  const files: ConfigFile[] = []
  for (const word of line.words) {
    for (const path of await matching(word)) files.push(...(await readFileAt(path, reading, depth + 1)))
  }
  return files
}

async function matching(pattern: string): Promise<string[]> {
  const path = pattern.startsWith('~/') ? join(homedir(), pattern.slice(2)) : resolve(homedir(), '.ssh', pattern)
  if (!/[*?[]/.test(path)) return [path]
  const found: string[] = []
  for await (const name of glob(path)) {
    found.push(name)
    if (found.length > MAX_FILES) break
  }
  return found.sort()
}
