import { z } from 'zod'
import { type CoreSettings, httpSettingsSchema } from '../../config/schema.ts'
import { freeYoungGeneration } from '../../core/young-generation.ts'
import type { InstanceOptions, Instances } from '../../runtime/instance.ts'
import { mcpRoute } from './mcp-route.ts'
import { createHttpServer, type Listening } from './server.ts'
import { httpToken, tokenFile } from './token.ts'

export interface UpParts {
  readonly instances: Instances
  readonly options: InstanceOptions
  readonly settings: CoreSettings['http']
  readonly version: string
  /** Told when it listens. */
  readonly onListening: (listening: Listening & { readonly tokenFile: string }) => void
  /** Told when it begins to stop. */
  readonly onStopping: () => void
  /** Aborted when the process is told to end. */
  readonly stop: AbortSignal
}

/**
 * Opens the instance and serves it until `stop`, then ends what runs, answers those who wait for it, and closes.
 * Resolves when that is done.
 */
export async function serveUp(parts: UpParts): Promise<void> {
  const instance = await parts.instances.open(parts.options)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => instance.close())
  const token = await httpToken(instance.folder)
  const server = await createHttpServer({
    instance,
    token,
    settings: parts.settings,
    version: parts.version,
    mount: mcpRoute(instance, parts.version, parts.settings),
  })
  undo.defer(server.close)
  const listening = await server.listen()
  freeYoungGeneration()
  parts.onListening({ ...listening, tokenFile: tokenFile(instance.folder) })
  instance.begin()
  await instance.serviceManager.ready()
  await aborted(parts.stop)
  parts.onStopping()
  server.drain()
  void instance.serviceManager.stopping()
  // First the runs, so that whoever waits for one still has its answer.
  await instance.close({ drain: true })
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** The settings of the server, from a list of all settings. */
export function httpSettingsOf(settings: readonly { readonly key: string; readonly value: unknown }[]) {
  const own = settings.filter(({ key }) => key.startsWith('http.'))
  return z.parse(
    httpSettingsSchema,
    Object.fromEntries(own.map(({ key, value }) => [key.slice('http.'.length), value])),
  )
}
