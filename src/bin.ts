import { readFile } from 'node:fs/promises'
import type { Composition } from './app.ts'
import { holdYoungGeneration } from './core/young-generation.ts'
import type { CliApp } from './surfaces/cli/commands.ts'

// Before anything else is loaded; a server frees it when it serves.
holdYoungGeneration()

/** The same place from `src` and from `dist`. */
const manifest = new URL('../package.json', import.meta.url)
const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }

/**
 * The declarations, which every command line is parsed by. The program behind them is loaded by the first command that
 * uses it: help does not, and an MCP server does not until it is called.
 */
async function loadApp(): Promise<CliApp> {
  const { createRegistry } = await import('./core/registry.ts')
  const { workers } = await import('./workers/index.ts')
  const registry = createRegistry(workers, { examplesAreKnown: true })

  const compose = async (): Promise<Composition> => (await import('./app.ts')).production(registry)
  const instances = async () => (await import('./app.ts')).createInstances(await compose())
  const config = async () => (await import('./app/config-calls.ts')).createConfigCalls({ registry, env: process.env })
  const demos = async () => (await import('./app/mqtt-demo.ts')).createDemos({ registry, env: process.env })
  const doctor = async () => (await import('./app/doctor.ts')).createDoctor(await compose())
  return {
    registry,
    instances: {
      open: async (options) => (await instances()).open(options),
      use: async (options) => (await instances()).use(options),
      read: async (options) => (await instances()).read(options),
      look: async (options) => (await instances()).look(options),
    },
    doctor: async (place) => (await doctor())(place),
    config: {
      validate: async (place) => (await config()).validate(place),
      explain: async (place, key) => (await config()).explain(place, key),
      show: async (place) => (await config()).show(place),
      schema: async () => (await config()).schema(),
      targets: async (place, worker) => (await config()).targets(place, worker),
      folder: async (place) => (await config()).folder(place),
    },
    demos: { mqtt: async (place, options) => (await demos()).mqtt(place, options) },
  }
}

const argv = process.argv.slice(2)

// Scripts and health checks ask for this often: nothing is loaded for it.
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
  process.stdout.write(`${version}\n`)
} else {
  const { runCli } = await import('./surfaces/cli/run.ts')
  process.exitCode = await runCli(argv, { version, app: loadApp })
}
