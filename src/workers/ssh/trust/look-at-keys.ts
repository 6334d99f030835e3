import { MhvError } from '../../../core/errors.ts'
import { type ConnectRequest, createWalk, withHop } from '../connect.ts'
import type { SshConnection } from '../connection.ts'
import { createLogIn } from '../credentials.ts'
import { dial } from '../dial.ts'
import { ALGORITHMS_OF_TYPE } from '../host-keys.ts'
import type { SshEndpoint } from '../route/endpoint.ts'
import type { Route } from '../route/route.ts'

/**
 * The keys that a host has, one handshake for each type, in the form in which they are presented. Only a key whose
 * possession the host has proved by its signature counts, and every handshake ends before any credential. Jump hosts on
 * the way are verified and logged in to as ever.
 *
 * Throws what `connectSsh` throws, except for the last host's key and log-in.
 */
export async function lookAtKeys(
  request: ConnectRequest,
  route: Route,
  signal: AbortSignal,
): Promise<readonly Buffer[]> {
  const walk = createWalk(request, route)
  const jumps = route.length - 1
  const carrier = jumps === 0 ? undefined : await walk.connect(jumps, signal)
  try {
    const keys: Buffer[] = []
    for (const algorithms of Object.values(ALGORITHMS_OF_TYPE)) {
      const key = await keyOf(request, route, algorithms, walk.leftMs(), carrier, signal)
      if (key !== undefined && !keys.some((other) => other.equals(key))) keys.push(key)
    }
    return keys
  } finally {
    await carrier?.close()
  }
}

/** The host's key for these algorithms; undefined where it has none. */
async function keyOf(
  request: ConnectRequest,
  route: Route,
  algorithms: readonly string[],
  leftMs: number,
  through: SshConnection | undefined,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  let shown: Buffer | undefined
  let proved: Buffer | undefined
  const endpoint = withoutCredentials(route.at(-1) as SshEndpoint)
  const { settings, clock, folder, secrets } = request
  const verify = (key: Buffer, answer: (accepted: boolean) => void) => {
    shown = Buffer.from(key)
    answer(true)
  }
  try {
    const connection = await dial(
      {
        endpoint,
        settings,
        clock,
        folder,
        through,
        hostKey: { algorithms, verify, refusal: () => undefined },
        logIn: createLogIn(endpoint, secrets, folder),
        timeoutMs: Math.max(1, leftMs),
        timeoutShown: settings.connect_timeout,
        onHandshake: () => {
          proved = shown
        },
      },
      signal,
    )
    // Without a handler for the handshake it would get here; nothing was offered to log in with.
    void connection.close()
  } catch (error) {
    if (signal.aborted) throw error
    if (proved === undefined && !isNoSuchType(error)) throw withHop(error, route, route.length - 1, through)
  }
  return proved
}

/** ssh2's words for a host that has no key of the types that were asked for; they have no code of their own. */
function isNoSuchType(error: unknown): boolean {
  return error instanceof MhvError && /no matching host key/i.test(error.message)
}

function withoutCredentials(endpoint: SshEndpoint): SshEndpoint {
  return { ...endpoint, identityFiles: [], agent: false, agentForward: false, password: undefined }
}
