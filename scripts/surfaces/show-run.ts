import { isDeepStrictEqual } from 'node:util'
import { cli, withMcp } from '../quickstart/clients.ts'
import { writeInstance } from '../quickstart/instance.ts'
import type { QuickstartServer } from '../quickstart/ssh-server.ts'
import { startUp } from '../quickstart/up.ts'

/** Where a run can be looked at, each with how it is asked for. */
export const SURFACES = {
  mcp: 'the tool `run_get`: its `structuredContent`',
  cli: '`mahavishnu runs show RUN --json`',
  http: '`GET /v1/runs/{run_id}`',
} as const

type Surface = keyof typeof SURFACES

/** What each surface answered about one run, parsed. */
export type Shown = Readonly<Record<Surface, Readonly<Record<string, unknown>>>>

/**
 * Makes one run in `folder` through MCP, and asks every surface of the running instance for it.
 * @param server the SSH server that the run goes to
 */
export async function showRun(folder: string, server: QuickstartServer, command: string): Promise<Shown> {
  await writeInstance(folder, server)
  await using undo = new AsyncDisposableStack()
  const up = await startUp(folder)
  undo.defer(() => up.stop())
  const { mcp, runId } = await withMcp(folder, async (call) => {
    const { run_id } = await call('ssh_execute', { target: 'demo', command })
    return { mcp: await call('run_get', { run_id }), runId: String(run_id) }
  })
  return {
    mcp,
    cli: JSON.parse(await cli(folder, 'runs', 'show', runId, '--json')),
    http: JSON.parse(await up.get(`/v1/runs/${runId}`)),
  }
}

/** Every document of the CLI has the number of its format beside it; it is no part of the run. */
function withoutFormat({ metadata: _format, ...document }: Readonly<Record<string, unknown>>) {
  return document
}

/**
 * What is wrong with the answers; empty when all surfaces show the same document.
 * @returns sentences that name the surface and the keys
 */
export function differences(shown: Shown): readonly string[] {
  const documents = { ...shown, cli: withoutFormat(shown.cli) }
  const keys = new Set(Object.values(documents).flatMap((document) => Object.keys(document)))
  const missing = ['run', 'input', 'events'].filter((key) => documents.http[key] === undefined)
  const others = (['mcp', 'cli'] as const).flatMap((surface) =>
    [...keys]
      .filter((key) => !isDeepStrictEqual(documents[surface][key], documents.http[key]))
      .map((key) => `${surface} shows another "${key}" than http`),
  )
  return [...missing.map((key) => `http shows no "${key}"`), ...others]
}
