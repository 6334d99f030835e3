/** The surfaces on a program whose workers are the probe and a local shell, in this process or on one of its own. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createConfigCalls } from '../../src/app/config-calls.ts'
import { createDemos } from '../../src/app/mqtt-demo.ts'
import { type Composition, createInstances } from '../../src/app.ts'
import { createRegistry } from '../../src/core/registry.ts'
import type { CliApp } from '../../src/surfaces/cli/commands.ts'
import type { CliIo, OutStream } from '../../src/surfaces/cli/io.ts'
import { runCli } from '../../src/surfaces/cli/run.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { createLocalWorker } from '../fixtures/local-worker.ts'
import { probeComposition } from './probe-composition.ts'

export const PROGRAM = join(import.meta.dirname, '../fixtures/probe-cli.ts')

/** A temporary instance folder with the targets `one` and `two` (probe) and `here` (local); everything is allowed. */
export async function surfaceFolder(settings = ''): Promise<{ readonly path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'mhv-surface-'))
  await mkdir(join(path, 'settings'))
  await writeFile(join(path, 'settings', 'mahavishnu.yaml'), `version: 1\n${settings}`)
  await writeFile(
    join(path, 'settings', 'inventory.yaml'),
    [
      'version: 1',
      'targets:',
      '  one: { tier: dev, probe: {} }',
      '  two: { tier: dev, probe: {} }',
      '  here: { tier: dev, local: {} }',
      '',
    ].join('\n'),
  )
  const policy = 'version: 1\nname: all\nrules:\n  - { id: all, decision: allow }\n'
  await writeFile(join(path, 'settings', 'policy.yaml'), policy)
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

export function surfaceComposition(): Composition {
  return probeComposition({ registry: createRegistry([createProbeWorker(), createLocalWorker()]) })
}

/** The parts that the composition root has, with an own answer for each question about the configuration. */
export function surfaceApp(composition: Composition = surfaceComposition()): CliApp {
  return {
    registry: composition.registry,
    instances: createInstances(composition),
    doctor: async () => [
      { check: 'folder', level: 'ok', message: 'is there' },
      { check: 'policy', level: 'warn', message: 'there is none', fix: 'Copy policies/agent-safe.yaml.' },
    ],
    config: {
      validate: async ({ folder }) =>
        folder?.includes('broken')
          ? {
              files: [],
              problems: [
                {
                  code: 'MHV_CONFIG_UNKNOWN_KEY',
                  message: '/x/mahavishnu.yaml:2:1: there is no setting "a"',
                  remedy: 'Correct it.',
                  details: {
                    count: 2,
                    problems: [
                      {
                        code: 'MHV_CONFIG_UNKNOWN_KEY',
                        message: 'there is no setting "a"',
                        file: '/x/mahavishnu.yaml',
                        line: 2,
                        column: 1,
                      },
                      {
                        code: 'MHV_CONFIG_INVALID',
                        message: 'must be a number',
                        file: '/x/mahavishnu.yaml',
                        line: 3,
                        column: 4,
                      },
                    ],
                  },
                },
              ],
            }
          : { files: [{ what: 'settings', file: '/x/mahavishnu.yaml', present: true }], problems: [] },
      explain: async (_place, key) => ({
        key,
        value: 20,
        layer: 'environment',
        source: 'MAHAVISHNU_A__B',
        description: 'a setting',
        type: 'a whole number',
        default: 10,
        env: 'MAHAVISHNU_A__B',
        overrides: [{ layer: 'defaults', source: 'declared default', value: 10 }],
      }),
      show: async () => [{ key: 'a.b', value: 20, layer: 'environment', source: 'MAHAVISHNU_A__B' }],
      schema: async () => ({ type: 'object', properties: { a: { type: 'object' } } }),
      targets: createConfigCalls(composition).targets,
      folder: async ({ folder = '/instance' }) => folder,
    },
    demos: createDemos(composition),
  }
}

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly app?: CliApp
  readonly stdin?: string | Uint8Array | Readable
  /** Width of a terminal; without it the outputs are pipes. */
  readonly columns?: number
  /** Given a function that acts as Ctrl-C. */
  readonly interrupting?: (interrupt: () => void) => void
  /** Given what is written to stderr, as it comes. */
  readonly noted?: (text: string) => void
  /** Told when the program would leave at once. */
  readonly exiting?: (code: number) => void
}

/** One command line in this process. */
export async function runHere(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const texts = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr'): OutStream => ({
    write(text, done) {
      const written = typeof text === 'string' ? text : Buffer.from(text).toString('utf8')
      texts[name] += written
      if (name === 'stderr') options.noted?.(written)
      done()
    },
    on: () => undefined,
    ...(options.columns === undefined ? {} : { isTTY: true, columns: options.columns }),
  })
  let left: number | null = null
  const io: CliIo = {
    stdin: inputOf(options.stdin),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    onInterrupt(listener) {
      options.interrupting?.(listener)
      return () => undefined
    },
    exit: (code) => {
      left = code
      options.exiting?.(code)
    },
  }
  const app = options.app ?? surfaceApp()
  const code = await runCli(args, {
    version: '9.8.7',
    app: async () => app,
    io,
    program: ['/usr/bin/node', '/opt/mahavishnu'],
  })
  return { code: left ?? code, ...texts }
}

function inputOf(stdin: RunOptions['stdin']): Readable {
  if (stdin instanceof Readable) return stdin
  return Readable.from(stdin === undefined ? [] : [Buffer.from(stdin)])
}

export function startProgram(args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [PROGRAM, ...args], { stdio: 'pipe' })
}

/** One command line on a process of its own. */
export function runProgram(args: readonly string[], stdin = ''): Promise<Ran & { readonly signal: string | null }> {
  const child = startProgram(args)
  const texts = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    texts.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    texts.stderr += text
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(stdin)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...texts }))
  })
}
