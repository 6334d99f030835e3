import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { onceId, type PartFacts, resumeId } from './temp-name.ts'
import type { Staged, Transfer, TransferContext } from './types.ts'

/**
 * Who writes to which part. A part that is gone on with has the same name for every transfer of the same source and
 * target: if two of them wrote to it, one could give its name to what the other has only begun.
 *
 * A part belongs to one instance, since its id is made of the instance's folder, and one process has that folder. So it
 * is enough that this process knows what it writes to.
 */

export interface PartClaim {
  /** For the temporary name. */
  readonly id: string
  /** Whether what is there is gone on with, and what arrives is kept when the transfer breaks off. */
  readonly resumes: boolean
  /** Lets the next transfer have the part. */
  release(): void
}

/** Ids of the parts that are being written to. */
const held = new Set<string>()

/** The part of a file to be resumed; one of its own, as without `resume`, where another transfer has it right now. */
export function claimPart(
  { ctx, input, endpoint, note }: Transfer,
  facts: Omit<PartFacts, 'direction' | 'owner'>,
): PartClaim {
  const once = { id: onceId(ctx.run_id, facts.target), resumes: false, release: () => undefined }
  if (!input.resume) return once
  const id = resumeId({ ...facts, direction: input.direction, owner: partOwner(ctx, endpoint) })
  if (held.has(id)) {
    note('another transfer of the same file is under way: what it has got so far was left to it')
    return once
  }
  held.add(id)
  let mine = true
  return {
    id,
    resumes: true,
    release() {
      // Once: by now it may be another one's.
      if (mine) held.delete(id)
      mine = false
    },
  }
}

/** What tells the parts of this instance on one host, and of one user there, from all others. */
export function partOwner({ connection, target }: TransferContext, endpoint: string): string {
  return JSON.stringify([hostname(), resolve(connection.folder), target.address.user ?? '', endpoint])
}

/** A staged file that gives its part up when it has its name, or is removed. */
export function withClaim(staged: Staged, claim: PartClaim): Staged {
  return {
    ...staged,
    discard: () => staged.discard().finally(claim.release),
    async place() {
      // Where it does not get its name it is still to be removed, and until then nobody else's.
      const placed = await staged.place()
      if (placed) claim.release()
      return placed
    },
  }
}
