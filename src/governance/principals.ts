import { userInfo } from 'node:os'
import type { Principal } from '../core/context.ts'

/** Who acts through the CLI and MCP over stdio: the user that runs this process. */
export function localPrincipal(): Principal {
  const { uid, username } = userInfo()
  return { id: `user:${uid >= 0 ? uid : username}`, kind: 'user' }
}
