import { readFile } from 'node:fs/promises'
import type { CliApp } from './surfaces/cli/commands.ts'
import { runCli } from './surfaces/cli/run.ts'

/** The same place from `src` and from `dist`. */
const manifest = new URL('../package.json', import.meta.url)
const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }

/** Loaded when a command line is there to be parsed: `--version` needs none of it. */
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

process.exitCode = await runCli(process.argv.slice(2), { version, app: loadApp })
