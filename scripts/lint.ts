/**
 * Everything that can be said about the code without running it.
 *
 *   npm run lint                    all steps
 *   npm run lint -- types layers    only these
 *   npm run lint -- --fix           lets biome format and repair first
 */
import './lib/assert-node.ts'
import { availableParallelism } from 'node:os'
import { createOutput } from './lib/output.ts'
import { inRoot, root, toolScript } from './lib/paths.ts'
import { cruise, rulesThatMissTheirViolation } from './lint/layers.ts'
import { checkProject } from './lint/sources.ts'
import { runTool } from './lint/tool.ts'

/** Ends with nothing when all is well, else with what is wrong. */
type Check = () => Promise<string | undefined>

interface StepResult {
  readonly name: string
  readonly ok: boolean
  readonly ms: number
  readonly details: string
}

const output = createOutput(process.argv.slice(2))
const fix = output.args.includes('--fix')
const only = output.args.filter((arg) => !arg.startsWith('--'))

async function tool(...argv: readonly string[]): Promise<string | undefined> {
  const { code, text } = await runTool(argv)
  return code === 0 ? undefined : text.trim() || `exit code ${code}`
}

async function checkLayers(): Promise<string | undefined> {
  const [{ modules, violations }, missed] = await Promise.all([cruise(root), rulesThatMissTheirViolation()])
  const problems = violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`)
  if (modules === 0) problems.push('dependency-cruiser saw no module of src: it does not understand this TypeScript')
  for (const rule of missed) problems.push(`${rule}: a planted violation was not reported`)
  return problems.join('\n') || undefined
}

async function checkSources(): Promise<string | undefined> {
  return checkProject()
    .map(({ file, line, message }) => `${file}${line > 0 ? `:${line}` : ''}: ${message}`)
    .join('\n')
}

const steps: Readonly<Record<string, Check>> = {
  style: () =>
    tool(...toolScript('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings', ...(fix ? ['--write'] : []), '.'),
  types: () => tool(...toolScript('typescript/bin/tsc'), '--noEmit', '--pretty', 'false'),
  layers: checkLayers,
  unused: () => tool(...toolScript('knip/bin/knip.js'), '--no-progress'),
  sources: checkSources,
  derived: () => tool(process.execPath, inRoot('scripts/gen.ts'), '--check'),
}

async function runStep(name: string, check: Check): Promise<StepResult> {
  const started = performance.now()
  // A tool that breaks is a failed step, not the end of the others.
  const details = await check().catch((error: unknown) => String(error))
  const ms = Math.round(performance.now() - started)
  const ok = details === undefined || details === ''
  output.say(`${ok ? 'ok    ' : 'FAILED'} ${name.padEnd(8)} ${(ms / 1000).toFixed(1)} s`)
  if (!ok) output.say(details.replace(/^/gm, '       '))
  return { name, ok, ms, details: details ?? '' }
}

/** Runs the steps a few at a time: all of them use a whole core. */
async function runSteps(names: readonly string[]): Promise<StepResult[]> {
  const results: StepResult[] = []
  const waiting = [...names]
  async function work(): Promise<void> {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const check = steps[name]
      if (check) results.push(await runStep(name, check))
    }
  }
  await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, work))
  return results
}

const unknown = only.filter((name) => !(name in steps))
if (unknown.length > 0) {
  output.say(`no such step: ${unknown.join(', ')}; there are ${Object.keys(steps).join(', ')}`)
  process.exitCode = 2
} else {
  const names = Object.keys(steps).filter((name) => only.length === 0 || only.includes(name))
  const results = await runSteps(names)
  const failed = results.filter((result) => !result.ok)
  const ok = failed.length === 0
  output.finish({ ok, steps: results }, `lint: ${ok ? 'ok' : `${failed.length} of ${results.length} steps failed`}`)
  process.exitCode = ok ? 0 : 1
}
