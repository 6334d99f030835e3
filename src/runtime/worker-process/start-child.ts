import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { ProcessSettings } from '../../config/isolation-schema.ts'
import { entryPoint } from '../../core/entry-point.ts'
import { type MhvError, mhvError, systemCode } from '../../core/errors.ts'
import { BASE_ENVIRONMENT, hiddenDescriptors } from '../../core/exec.ts'
import { createHeadTail } from '../../core/head-tail.ts'
import { type Cgroup, createCgroup } from './cgroup.ts'
import { type Channel, createChannel } from './channel.ts'
import { createPeer, type Peer } from './peer.ts'
import { endGroup, endTree } from './process-tree.ts'
import type { ChildMethods, ParentMethods } from './protocol.ts'

/** A process of a worker, from its start to its end. */
export interface Child {
  readonly pid: number
  readonly peer: Peer<ChildMethods>
  /** What holds its limits: control groups, or this process that looks, with the processor's priority lowered. */
  readonly limitedBy: 'cgroup' | 'watchdog'
  /** Resolves when it is gone, with why: `killed by SIGKILL`, `exit code 1: …`. */
  readonly gone: Promise<string>
  isGone(): boolean
  /** Whether nothing is read from it for now, because it sent more output than the journal takes. */
  isHeldBack(): boolean
  /** Memory that it holds now, in bytes. */
  memory(): number
  /** Ends it at once; `why` is what its runs are told. */
  kill(why: string): void
  /** Lets it end by itself, and ends it where it does not. */
  end(): Promise<void>
}

export interface ChildToStart {
  readonly worker: string
  readonly settings: ProcessSettings
  /** Names of variables of our environment that the worker reads, beside those that every program gets. */
  readonly environment: readonly string[]
  readonly methods: ParentMethods
}

const MEBIBYTE = 1_048_576
/** Part of the memory limit that JavaScript may have; buffers, code and stacks are beside it. */
const HEAP_PART = 0.75
/** Niceness of a worker whose processor share cannot be limited: it gives way to the main process and the others. */
const NICE = 10
/** How long a process without a channel may take to end, in milliseconds. */
const END_MS = 1_000
/** How long what it wrote last may take to arrive, in milliseconds. */
const LAST_WORDS_MS = 200
/** Bytes of output of all its runs that may wait for the journal here; beyond them nothing is read from it. */
const MAX_HELD_BYTES = 64 * MEBIBYTE
/** Bytes kept of what it writes to standard error: the beginning and the end. */
const KEPT_BYTES = 4_096

/** Variables that are Node's own business in every process of ours. */
const NODE_ENVIRONMENT = ['NODE_COMPILE_CACHE', 'NODE_EXTRA_CA_CERTS', 'NODE_V8_COVERAGE']

/**
 * Lowers the limit of open files to the first argument (0: leaves it), and asks the kernel, where setpriv can, to end the
 * process with ours even when it is too busy to notice. The rest is the program.
 */
const SCRIPT = [
  'if [ "$1" != 0 ]; then ulimit -n "$1" || exit 126; fi',
  'shift',
  'if setpriv --pdeathsig KILL true 2>/dev/null; then exec setpriv --pdeathsig KILL -- "$@"; fi',
  'exec "$@"',
].join('\n')

/** Counts within this process: two of one worker may be there at once while one is being replaced. */
let started = 0

/** @throws MHV_WORKER_DOWN where no process can be started */
export async function startChild(start: ChildToStart): Promise<Child> {
  const { worker, settings } = start
  const program = await spawned(start)
  const pid = program.pid as number
  started += 1
  const cgroup = limit(`mahavishnu-${worker}-${process.pid}-${started}`, pid, settings)
  const stderr = createHeadTail({ head: KEPT_BYTES / 2, tail: KEPT_BYTES / 2 })
  program.stderr?.on('data', (bytes: Buffer) => stderr.push(bytes))
  program.stderr?.on('error', () => undefined)
  let over = false
  let killedFor: string | undefined
  const kill = (why: string) => {
    if (over) return
    killedFor ??= why
    endTree(pid)
  }
  const channel = createChannel(program.stdio[3] as Socket, {
    receive: (message) => peer.receive(message),
    broken: kill,
    // It can neither tell nor be told anything any more. Usually it is ending, and its end says why.
    closed: () => void setTimeout(() => !over && endTree(pid), END_MS).unref(),
  })
  const peer = createPeer<ChildMethods>(holdingBack(start.methods, channel), channel.send)
  const gone = new Promise<string>((resolve) => {
    program.once('exit', (code, signal) => {
      over = true
      endGroup(pid)
      void lastWords(program).then(() => {
        const end =
          killedFor ??
          endText(
            code,
            signal,
            cgroup,
            stderr.text(() => '…'),
          )
        cgroup?.end()
        channel.close()
        peer.end(diedError(worker, end))
        resolve(end)
      })
    })
  })
  return {
    pid,
    peer,
    gone,
    limitedBy: cgroup === null ? 'watchdog' : 'cgroup',
    isGone: () => over,
    isHeldBack: channel.isHeldBack,
    memory: () => memoryOf(pid),
    kill,
    async end() {
      channel.close()
      const timer = setTimeout(() => !over && endTree(pid), END_MS)
      await gone
      clearTimeout(timer)
    },
  }
}

/** Output that the journal has not taken is bounded, whether the worker waits for it or not. */
function holdingBack(methods: ParentMethods, channel: Channel): ParentMethods {
  let held = 0
  return {
    ...methods,
    async write(handle, stream, bytes) {
      held += bytes.length
      if (held > MAX_HELD_BYTES) channel.holdBack()
      try {
        await methods.write(handle, stream, bytes)
      } finally {
        held -= bytes.length
        if (held <= MAX_HELD_BYTES) channel.release()
      }
    },
  }
}

/** What the runs of a process are told that is gone: nobody knows what they have done. */
export function diedError(worker: string, why: string): MhvError {
  return mhvError('MHV_WORKER_DIED', `the process of worker ${worker} ended while the run acted: ${why}`, {
    details: { worker, why },
  })
}

async function spawned({ worker, settings, environment }: ChildToStart): Promise<ChildProcess> {
  const heap = Math.max(32, Math.floor(settings.memory_limit_mb * HEAP_PART))
  const entry = entryPoint(import.meta.url, './child')
  const node = [process.execPath, `--max-old-space-size=${heap}`, fileURLToPath(entry)]
  const closed = openSync('/dev/null', 'r+')
  try {
    const program = spawn('/bin/sh', ['-c', SCRIPT, 'sh', String(settings.open_files ?? 0), ...node], {
      env: environmentOf(environment),
      // Standard output belongs to the surfaces. The channel takes the place of descriptor 3.
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...hiddenDescriptors(closed).slice(1)],
      // A group of its own: Ctrl-C is for the main process, which ends its runs before its workers.
      detached: true,
      windowsHide: true,
    })
    await new Promise<void>((resolve, reject) => {
      program.once('spawn', resolve)
      program.once('error', reject)
    })
    program.on('error', () => undefined)
    return program
  } catch (error) {
    const code = systemCode(error) ?? 'unknown error'
    throw mhvError('MHV_WORKER_DOWN', `the process of worker ${worker} could not be started (${code})`, {
      cause: error,
      retryAfter: 1,
    })
  } finally {
    closeSync(closed)
  }
}

function environmentOf(names: readonly string[]): NodeJS.ProcessEnv {
  const known = [...BASE_ENVIRONMENT, ...NODE_ENVIRONMENT, ...names].filter((name) => process.env[name] !== undefined)
  return Object.fromEntries(known.map((name) => [name, process.env[name]]))
}

function limit(name: string, pid: number, { memory_limit_mb, cpu_percent }: ProcessSettings): Cgroup | null {
  const cgroup = createCgroup(name, { memory_bytes: memory_limit_mb * MEBIBYTE, cpu_percent })
  try {
    if (cgroup === null && cpu_percent !== null) setPriority(pid, NICE)
    cgroup?.add(pid)
    return cgroup
  } catch {
    // Gone already, or not allowed to be moved: its end, or the watchdog, says the rest.
    cgroup?.end()
    return null
  }
}

function memoryOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function endText(code: number | null, signal: string | null, cgroup: Cgroup | null, stderr: string): string {
  if (cgroup !== null && cgroup.outOfMemoryKills() > 0) return 'ended by the kernel at its memory limit'
  const how = signal === null ? `exit code ${code}` : `killed by ${signal}`
  const lines = stderr.split('\n').filter((line) => line.trim() !== '')
  // Node tells the error in the middle: before it stands the code, after it the stack.
  const why = lines.find((line) => /^(\w*Error\b|FATAL ERROR)/.test(line)) ?? lines.at(-1)
  return why === undefined ? how : `${how}: ${why.slice(0, 500)}`
}

/**
 * What a process that has ended may still have written: an answer, or to standard error. Not for long, somebody else may
 * hold it.
 */
async function lastWords({ stdio }: ChildProcess): Promise<void> {
  const open = stdio.filter((stream) => stream != null && !stream.closed)
  const ended = Promise.all(open.map((stream) => new Promise<void>((done) => stream?.once('close', () => done()))))
  const late = Promise.withResolvers<void>()
  const timer = setTimeout(late.resolve, LAST_WORDS_MS)
  await Promise.race([ended, late.promise])
  clearTimeout(timer)
  for (const stream of open) stream?.destroy()
}
