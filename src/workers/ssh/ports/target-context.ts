import type { ResolvedTarget } from '../../../core/context.ts'
import type { SshPool } from '../pool.ts'
import type { SshSettings, SshTarget } from '../settings.ts'

/** Where a name of the inventory leads. Throws MHV_TARGET_UNKNOWN or MHV_TARGET_UNSUPPORTED. */
export async function targetContext(
  pool: SshPool,
  name: string,
): Promise<{ readonly target: ResolvedTarget<SshTarget>; readonly settings: SshSettings }> {
  const { target, settings } = await pool.context.target(name)
  return { target: target as ResolvedTarget<SshTarget>, settings }
}
