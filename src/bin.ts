import { readFile } from 'node:fs/promises'
import type { CliApp } from './surfaces/cli/commands.ts'

/** The same place from `src` and from `dist`. */
const manifest = new URL('../package.json', import.meta.url)
const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }

/** Loaded when a command line is there to be parsed. */
async function loadApp(): Promise<CliApp> {
  const { createInstances, production } = await import('./app.ts')
  const { createConfigCalls } = await import('./app/config-calls.ts')
  const { createDoctor } = await import('./app/doctor.ts')
  const composition = production()
  return {
    registry: composition.registry,
    instances: createInstances(composition),
    doctor: createDoctor(composition),
    config: createConfigCalls(composition),
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
