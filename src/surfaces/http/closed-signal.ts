import type { ServerResponse } from 'node:http'

/** Aborted when the client goes away before it has its whole answer. */
export function closedSignal({ raw }: { readonly raw: ServerResponse }): AbortSignal {
  const controller = new AbortController()
  raw.once('close', () => {
    if (!raw.writableFinished) controller.abort(new Error('the client has gone away'))
  })
  return controller.signal
}
