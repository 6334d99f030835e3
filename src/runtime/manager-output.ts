import type { Principal } from '../core/context.ts'
import { toMhvError } from '../core/errors.ts'
import { leftOutOf } from '../core/left-out.ts'
import type { WorkerResult } from '../core/result.ts'
import type { Instance } from './instance.ts'

/** Bytes of one page; the most that `run_output` gives. */
const PAGE_BYTES = 256 * 1024

interface Page {
  readonly chunks: readonly { readonly stream: string; readonly text: string; readonly gap_bytes: number }[]
  readonly next_cursor: number
  readonly ended: boolean
}

/** A result's output as it came, and whether some of it is missing. */
export interface WholeOutput {
  readonly output: string | null
  readonly cut: boolean
}

/**
 * A result has the beginning and the end of a long output; the journal has more. This reads it from there, up to
 * `maxBytes`; where even the journal has not all of it, or cannot be asked, the text stays as it is; the latter is logged.
 */
export async function wholeOutput(
  instance: Pick<Instance, 'control' | 'log'>,
  principal: Principal,
  { run_id, output }: Pick<WorkerResult, 'run_id' | 'output'>,
  maxBytes: number,
): Promise<WholeOutput> {
  // Bytes are output; characters would be data that the journal has no more of.
  if (output === null || leftOutOf(output)?.unit !== 'bytes') return { output, cut: false }
  const whole = await readOutput(instance, principal, run_id, maxBytes).catch((thrown: unknown) => {
    const error = toMhvError(thrown)
    instance.log.warn('the whole output of a run could not be read from the journal', { run_id, error })
    return undefined
  })
  return whole === undefined ? { output, cut: true } : { output: whole, cut: false }
}

async function readOutput(
  instance: Pick<Instance, 'control'>,
  principal: Principal,
  run_id: string,
  maxBytes: number,
): Promise<string | undefined> {
  const pieces: Buffer[] = []
  let bytes = 0
  let cursor = 0
  for (;;) {
    // As bytes: a page may end within a character.
    const input = { run_id, cursor, max_bytes: PAGE_BYTES, encoding: 'base64' }
    const page = (await instance.control({ name: 'run_output', input, principal })) as unknown as Page
    for (const { stream, text, gap_bytes } of page.chunks) {
      if (stream !== 'stdout') continue
      if (gap_bytes > 0) return undefined
      const piece = Buffer.from(text, 'base64')
      pieces.push(piece)
      bytes += piece.length
    }
    if (bytes > maxBytes) return undefined
    if (page.ended || page.next_cursor === cursor) return Buffer.concat(pieces).toString('utf8')
    cursor = page.next_cursor
  }
}
