import type { Terminal } from '@xterm/headless'

/** What xterm.js passes to the handlers of its own, which may change it for those that come after. */
interface Parameters {
  readonly params: Int32Array
}

interface ParserOfCore {
  registerCsiHandler(id: { readonly final: string }, handler: (parameters: Parameters) => boolean): unknown
}

/**
 * Bounds the repetitions of sequences for which xterm.js does a step for each of them, whatever the size of the screen:
 * eleven bytes (`CSI 2147483647 S`) would keep it, and this process, busy for hours. What is beyond the size of the screen
 * changes nothing, so the screen stays what it would have been.
 */
export function boundCounts(terminal: Terminal): void {
  const core = coreOf(terminal)
  const bound = (finals: string, most: () => number) => {
    for (const final of finals) {
      core.registerCsiHandler({ final }, ({ params }) => {
        params[0] = Math.min(params[0] ?? 0, most())
        return false
      })
    }
  }
  // SU, SD, IL, DL; CHT, CBT.
  bound('STLM', () => terminal.rows)
  bound('IZ', () => terminal.cols)
  // REP, to the end of the line as in tmux; at the end of it there is nothing to repeat into.
  core.registerCsiHandler({ final: 'b' }, ({ params }) => {
    const room = terminal.cols - terminal.buffer.active.cursorX
    params[0] = Math.min(params[0] ?? 0, room)
    return room <= 0
  })
}

/** The parser's public handlers are given a copy of the parameters, which cannot be bounded. */
function coreOf(terminal: Terminal): ParserOfCore {
  const { _core } = terminal as unknown as { readonly _core?: Partial<ParserOfCore> }
  if (typeof _core?.registerCsiHandler !== 'function')
    throw new Error('this xterm.js has no parser that can be bounded')
  return _core as ParserOfCore
}
