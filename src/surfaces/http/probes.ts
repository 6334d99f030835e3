import type { FastifyInstance } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import type { Instance, Readiness } from '../../runtime/instance.ts'

/** How long a look at the journal counts, in milliseconds: it writes, and anybody may ask. */
const LOOK_MS = 1_000

/** `/healthz`: the process answers. `/readyz`: it takes new runs. To anybody, and nothing more than that. */
export function addProbes(app: FastifyInstance, instance: Instance, draining: () => boolean, clock: Clock): void {
  let look: { readonly at: number; readonly answer: Promise<Readiness> } | undefined

  function readiness(): Promise<Readiness> {
    if (look === undefined || clock.monotonic() - look.at > LOOK_MS) {
      look = { at: clock.monotonic(), answer: instance.readiness() }
    }
    return look.answer
  }

  const open = { config: { probe: true }, exposeHeadRoute: true }
  app.get('/healthz', open, async () => ({ status: 'ok' }))
  app.get('/readyz', open, async (_request, reply) => {
    const ready = !draining() && (await readiness().catch(() => ({ ready: false }))).ready
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready' })
  })
}
