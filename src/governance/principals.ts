import { userInfo } from 'node:os'
import type { Principal } from '../core/context.ts'

/** Who acts through the CLI and MCP over stdio: the user that runs this process. */
export function localPrincipal(): Principal {
  // By number where there are numbers: a container's user may well have no name, and asking for it then throws.
  return { id: `user:${process.getuid?.() ?? userInfo().username}`, kind: 'user' }
}
