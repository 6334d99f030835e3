import { mhvError } from '../../../core/errors.ts'
import type { SshTarget } from '../settings.ts'
import { MAX_JUMPS } from './jump-spec.ts'

type Lookup = (name: string) => SshTarget | undefined

/**
 * Puts the targets that `proxy_jump` names into the address. Only the first one's own jump hosts play a part on the way,
 * so only they are followed. Throws MHV_SSH_JUMP_INVALID for a circle, and for more jump hosts than there may be.
 */
export function linkJumps(address: SshTarget, lookup: Lookup, behind: readonly string[] = []): SshTarget {
  const { proxy_jump } = address
  if (proxy_jump === undefined || proxy_jump === 'none') return address
  const names = typeof proxy_jump === 'string' ? [proxy_jump] : proxy_jump
  const linked = names.flatMap((name, place): [string, SshTarget][] => {
    const other = lookup(name)
    if (other === undefined) return []
    if (behind.includes(name)) {
      throw mhvError('MHV_SSH_JUMP_INVALID', `proxy_jump leads in a circle: ${[...behind, name].join(', then ')}`)
    }
    if (behind.length >= MAX_JUMPS) {
      throw mhvError('MHV_SSH_JUMP_INVALID', `proxy_jump leads over more than ${MAX_JUMPS} jump hosts`)
    }
    return [[name, place === 0 ? linkJumps(other, lookup, [...behind, name]) : other]]
  })
  return linked.length === 0 ? address : { ...address, jump_targets: Object.fromEntries(linked) }
}
