/**
 * The `--json` convention of every script.
 *
 * | arguments     | people's text | the document |
 * | ---           | ---           | --- |
 * | (none)        | stdout        | is not written |
 * | `--json`      | stderr        | one line, the last of stdout |
 * | `--json=FILE` | stdout        | in FILE |
 */
import { mkdirSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/** What `--json` asked for, and the arguments that are left. */
export interface OutputArguments {
  /** `true`: on stdout; a string: into that file; `false`: not at all. */
  readonly json: boolean | string
  readonly rest: readonly string[]
}

/** Where a script's text and its JSON document go. */
export interface Output {
  /** The arguments without those of this convention. */
  readonly args: readonly string[]
  /** Text for people; a newline is added. */
  say(text: string): void
  /**
   * Ends the output: writes the document where it was asked for, else the closing line. Call it last and once.
   * @param closing the line that a reader, or a program, finds last when the document is not on stdout
   */
  finish(document: unknown, closing?: string): void
}

/** Takes `--json` and `--json=FILE` out of a command line. Everything behind `--` is left alone. */
export function parseOutputArguments(args: readonly string[]): OutputArguments {
  const end = args.indexOf('--')
  const own = end < 0 ? args : args.slice(0, end)
  let json: boolean | string = false
  const rest: string[] = []
  for (const arg of own) {
    if (arg === '--json') json = true
    else if (arg.startsWith('--json=')) json = requireFile(arg.slice('--json='.length))
    else rest.push(arg)
  }
  return { json, rest: end < 0 ? rest : [...rest, ...args.slice(end)] }
}

function requireFile(name: string): string {
  if (name === '') throw new Error('--json= needs a file name')
  return name
}

/** Written synchronously, so that `process.exit` right after cannot cut it off when stdout is a pipe. */
function writeAll(descriptor: 1 | 2, text: string): void {
  const bytes = Buffer.from(text)
  let written = 0
  while (written < bytes.length) {
    try {
      written += writeSync(descriptor, bytes, written)
    } catch (error) {
      // A full pipe in non-blocking mode: its reader is slow, not gone.
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/** The output of a script started with `args` (without node and script). */
export function createOutput(args: readonly string[]): Output {
  const { json, rest } = parseOutputArguments(args)
  const people = json === true ? 2 : 1
  return {
    args: rest,
    say(text) {
      writeAll(people, `${text}\n`)
    },
    finish(document, closing) {
      if (closing !== undefined) writeAll(people, `${closing}\n`)
      if (json === true) writeAll(1, `${JSON.stringify(document)}\n`)
      if (typeof json === 'string') {
        const file = resolve(json)
        mkdirSync(dirname(file), { recursive: true })
        writeFileSync(file, `${JSON.stringify(document, undefined, 2)}\n`)
      }
    },
  }
}
