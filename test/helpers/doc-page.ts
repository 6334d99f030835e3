import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type DocBlock, matchesShown, parsePage } from '../../scripts/docs/blocks.ts'
import { loadInventory } from '../../src/config/inventory.ts'
import { loadSettings } from '../../src/config/layers.ts'
import { loadSchedules } from '../../src/config/schedules.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { loadPolicy } from '../../src/governance/policy-file.ts'
import { workers } from '../../src/workers/index.ts'
import { useMcpConfig } from './doc-mcp.ts'
import type { DocPlace } from './doc-place.ts'
import { typeProblems } from './doc-types.ts'

/** What became of a page's blocks. */
export interface PageReport {
  /** Each begins with its line. */
  readonly problems: readonly string[]
  /** Blocks that cannot be run here, each with its line and its reason. */
  readonly notRun: readonly string[]
  /** Blocks that were executed, validated or compared. */
  readonly checked: number
}

interface State {
  readonly place: DocPlace
  readonly background: ChildProcess[]
  /** What the last `sh` block said. */
  said: string
}

/**
 * Does what the page tells its reader, block after block, in one place.
 *
 * | block | what is done |
 * | --- | --- |
 * | `sh` | run by bash; `exit=202` expects that code, `background` leaves it running until the end of the page |
 * | any with `output` | compared with what the `sh` block before has said; `…` stands for anything |
 * | `yaml settings`, `inventory`, `schedules`, `policy`, `policy-rules` | read by the parser of that file; `write=FILE` writes it into the instance too |
 * | `json` | parsed; `mcp-config`: the server in it is asked for its tools |
 * | `ts` | type-checked |
 * | any with `no-run="reason"` | nothing, and the reason is reported |
 */
export async function checkPage(text: string, place: DocPlace): Promise<PageReport> {
  const { blocks, problems } = parsePage(text)
  const found = [...problems]
  const notRun: string[] = []
  const state: State = { place, background: [], said: '' }
  try {
    for (const block of blocks) {
      const reason = block.info['no-run']
      if (reason !== undefined) {
        notRun.push(`line ${block.line}: ${reason}`)
        if (reason.length < 10) found.push(`line ${block.line}: no-run needs a reason`)
        continue
      }
      const problem = await checkBlock(block, state).catch((error: unknown) => String(error))
      if (problem !== '') found.push(`line ${block.line}: ${problem}`)
    }
  } finally {
    for (const child of state.background) await endGroup(child)
  }
  return { problems: found, notRun, checked: blocks.length - notRun.length }
}

/** @returns what is wrong, empty if nothing is */
async function checkBlock(block: DocBlock, state: State): Promise<string> {
  const { lang, info, text } = block
  if (lang === 'sh') return info.background === undefined ? runBlock(block, state) : startBlock(text, state)
  if (info.output !== undefined && !matchesShown(text, state.said))
    return `shows another output than there was:\n${state.said}`
  if (lang === 'yaml') return checkYaml(block, state)
  if (lang === 'json' && (info.output === undefined || info['mcp-config'] !== undefined)) {
    const parsed: unknown = JSON.parse(state.place.fill(text))
    return info['mcp-config'] === undefined ? '' : useMcpConfig(parsed, state.place)
  }
  if (info.output !== undefined) return ''
  if (lang === 'ts') return typeProblems(text)
  if (lang === 'mermaid') return /^(flowchart|stateDiagram-v2|sequenceDiagram)\b/.test(text) ? '' : 'unknown diagram'
  return `nobody can tell what "${lang}" is to be checked for; say so, or no-run="reason"`
}

async function runBlock({ text, info }: DocBlock, state: State): Promise<string> {
  const { code, said } = await state.place.run(text)
  state.said = state.place.unfill(said)
  const expected = Number(info.exit ?? 0)
  return code === expected ? '' : `ended with ${code} instead of ${expected}:\n${said}`
}

/** Runs on until the end of the page; ready when it says where it listens. */
async function startBlock(text: string, { place, background }: State): Promise<string> {
  const child = spawn('bash', ['-c', place.fill(text)], { cwd: place.work, env: place.env, detached: true })
  background.push(child)
  let said = ''
  const ready = Promise.withResolvers<string>()
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    said += piece
    if (/^the token is in .*\n/m.test(said)) ready.resolve('')
  })
  child.stdout.resume()
  child.once('exit', (code) => ready.resolve(`ended with ${code} instead of running on:\n${said}`))
  return ready.promise
}

/** The group is the shell and what it started. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.pid === undefined) return
  const exited = once(child, 'exit')
  process.kill(-child.pid, 'SIGTERM')
  await exited
}

const FILES = {
  settings: 'mahavishnu.yaml',
  inventory: 'inventory.yaml',
  schedules: 'schedules.yaml',
  policy: 'policy.yaml',
} as const
const KINDS = ['settings', 'inventory', 'schedules', 'policy'] as const

async function checkYaml({ text, info }: DocBlock, { place }: State): Promise<string> {
  const file = info.write
  if (file !== undefined) {
    const path = join(place.instance, file)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFile(path, place.fill(text))
  }
  const rules = info['policy-rules'] !== undefined
  const kind = rules ? 'policy' : KINDS.find((name) => name in info)
  if (kind === undefined)
    return 'a yaml block says whether it is settings, inventory, schedules, policy or policy-rules'
  const folder = await mkdtemp(join(tmpdir(), 'mhv-doc-yaml-'))
  try {
    const at = join(folder, 'settings', FILES[kind])
    await mkdir(dirname(at))
    await writeFile(at, rules ? `version: 1\nname: page\nrules:\n${text}` : text)
    await parseAs(kind, folder, at, place)
    return ''
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function parseAs(kind: keyof typeof FILES, folder: string, file: string, place: DocPlace): Promise<void> {
  const registry = createRegistry(workers)
  if (kind === 'policy') await loadPolicy(file)
  else if (kind === 'inventory') await loadInventory({ file, registry })
  else if (kind === 'schedules') {
    // Their targets are those of the page's instance.
    const inventory = await loadInventory({ file: join(place.instance, 'settings', FILES.inventory), registry })
    await loadSchedules({ file, registry, inventory })
  } else await loadSettings({ folder, registry, env: {}, flags: [] })
}
