/**
 * The layer check, and the check of the check: dependency-cruiser that understands no TypeScript finds no module
 * at all and still exits 0, so every rule must report a violation planted for it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { inRoot, toolScript } from '../lib/paths.ts'
import { runTool } from './tool.ts'

interface Violation {
  readonly rule: { readonly name: string }
  readonly from: string
  readonly to: string
}

/** What dependency-cruiser found. */
export interface Cruise {
  readonly modules: number
  readonly violations: readonly Violation[]
}

/** Files with one forbidden import each, by the rule that has to report it. */
export const plantedViolations: Readonly<Record<string, readonly [file: string, text: string]>> = {
  'layer-core': ['src/core/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-config': ['src/config/planted.ts', "import type { A } from '../store/a.ts'\nexport type B = A\n"],
  'layer-store': ['src/store/planted.ts', "import { a } from '../config/a.ts'\nexport const b = a\n"],
  'layer-resilience': ['src/resilience/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-governance': ['src/governance/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-telemetry': ['src/telemetry/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-notifications': ['src/notifications/planted.ts', "import { a } from '../store/a.ts'\nexport const b = a\n"],
  'layer-artifacts': ['src/artifacts/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-adapters': ['src/adapters/planted.ts', "import { a } from '../runtime/a.ts'\nexport const b = a\n"],
  'layer-runtime': ['src/runtime/planted.ts', "import { a } from '../surfaces/mcp/a.ts'\nexport const b = a\n"],
  'layer-surfaces': ['src/surfaces/mcp/planted.ts', "import { a } from '../../workers/ssh/a.ts'\nexport const b = a\n"],
  'layer-workers': ['src/workers/ssh/planted.ts', "import { a } from '../../store/a.ts'\nexport const b = a\n"],
  'layer-testing': ['src/testing/planted.ts', "import { a } from '../workers/ssh/a.ts'\nexport const b = a\n"],
  'surfaces-store-types-only': [
    'src/surfaces/cli/planted.ts',
    "import { a } from '../../store/a.ts'\nexport const b = a\n",
  ],
  'worker-knows-no-other': ['src/workers/mqtt/planted.ts', "import { a } from '../ssh/a.ts'\nexport const b = a\n"],
  'nothing-imports-the-root': ['src/runtime/rooted.ts', "import { a } from '../app.ts'\nexport const b = a\n"],
  'no-tests-in-the-product': ['src/core/tested.ts', "import { a } from './a.test.ts'\nexport const b = a\n"],
  'no-tools-in-the-product': ['src/core/tooled.ts', "import { a } from 'planted-tool'\nexport const b = a\n"],
  'no-cycles': ['src/core/cycle.ts', "import { b } from './cycle-back.ts'\nexport const a = () => b\n"],
  'no-unresolved': ['src/core/lost.ts', "import { a } from './nowhere.ts'\nexport const b = a\n"],
}

/** What the planted imports lead to. */
const plantedTargets: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      'app.ts',
      'core/a.test.ts',
      'runtime/a.ts',
      'store/a.ts',
      'config/a.ts',
      'surfaces/mcp/a.ts',
      'workers/ssh/a.ts',
    ].map((file) => [`src/${file}`, 'export interface A {\n  readonly a: string\n}\nexport const a = 1\n']),
  ),
  'src/core/cycle-back.ts': "import { a } from './cycle.ts'\nexport const b = () => a\n",
  'package.json': '{ "type": "module", "devDependencies": { "planted-tool": "1.0.0" } }\n',
  'node_modules/planted-tool/package.json': '{ "name": "planted-tool", "version": "1.0.0", "main": "index.js" }\n',
  'node_modules/planted-tool/index.js': 'exports.a = 1\n',
  'tsconfig.json': '{ "compilerOptions": { "module": "nodenext", "allowImportingTsExtensions": true } }\n',
}

/** Runs dependency-cruiser over the `src` below a folder, by the checkout's own rules. */
export async function cruise(folder: string): Promise<Cruise> {
  const tool = toolScript('dependency-cruiser/bin/dependency-cruiser.mjs')
  const config = inRoot('.dependency-cruiser.cjs')
  const { stdout, text } = await runTool([...tool, '--config', config, '--output-type', 'json', 'src'], folder)
  if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser gave no report:\n${text}`)
  const { summary, modules } = JSON.parse(stdout)
  // Modules of the folder itself: what was only resolved (packages, node:fs) proves nothing.
  const own = modules.filter((module: { source: string }) => module.source.startsWith('src/'))
  return { modules: own.length, violations: summary.violations }
}

/** Names of rules that did not report what was planted for them; empty when all of them work. */
export async function rulesThatMissTheirViolation(): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-layers-'))
  try {
    const planted = Object.fromEntries(Object.values(plantedViolations))
    for (const [file, text] of Object.entries({ ...plantedTargets, ...planted })) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      writeFileSync(join(folder, file), text)
    }
    const { violations } = await cruise(folder)
    // A cycle is reported once, from whichever of its files comes first: `to` counts as well.
    const reported = new Set(violations.flatMap(({ rule, from, to }) => [`${rule.name} ${from}`, `${rule.name} ${to}`]))
    return Object.entries(plantedViolations)
      .filter(([rule, [file]]) => !reported.has(`${rule} ${file}`))
      .map(([rule]) => rule)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
