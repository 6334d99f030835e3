/**
 * What a session's output is for people who watch it in terminals of their own: without what the program asks its
 * terminal. The session's screen answers that, once; every watcher's terminal would answer it again, as if typed.
 */

// DA1–3, DSR, DECRQM, XTVERSION, kitty's query, XTQMODKEYS, DECREQTPARM, sizes; DECID; OSC with `?`; DECRQSS, XTGETTCAP.
const QUERY = new RegExp(
  [
    '\\x1b\\[[0-?]*c',
    '\\x1b\\[\\??[0-9;]*n',
    '\\x1b\\[\\??[0-9;]*\\$p',
    '\\x1b\\[>[0-9;]*q',
    '\\x1b\\[\\?[0-9;]*[um]',
    '\\x1b\\[[0-9;]*x',
    '\\x1b\\[(?:14|16|18|19|21)(?:;[0-9;]*)?t',
    '\\x1bZ',
    '\\x1b\\][0-9]+;([^\\x07\\x1b]{0,4096})(?:\\x07|\\x1b\\\\)',
    '\\x1bP[0-9;]*[$+]q[^\\x1b]{0,4096}\\x1b\\\\',
  ].join('|'),
  'g',
)
/** A question among the fields of an OSC. Looked for in a step of its own: in one with its end, it would take its length squared. */
const ASKED = /(?:^|;)\?(?:;|$)/
const withoutQuery = (sequence: string, fields: string | undefined) =>
  fields === undefined || ASKED.test(fields) ? '' : sequence

/** A sequence that has begun and may go on in the next piece; longer ones are passed on as they are. */
const BEGUN = /\x1b(?:\[[0-?]{0,64}[ -/]{0,4}|[\]P][^\x07\x1b]{0,4096}\x1b?)?$/

/** A filter of one watcher; the pieces must come in order. What it holds back comes with the next piece or `end`. */
export function withoutQueries(): { push(bytes: Uint8Array): Uint8Array; end(): Uint8Array } {
  let held = ''
  return {
    push(bytes) {
      if (held === '' && !bytes.includes(0x1b)) return bytes
      const text = (held + Buffer.from(bytes).toString('latin1')).replace(QUERY, withoutQuery)
      // A sequence that is still to come to its end is at most so long.
      const tail = Math.max(0, text.length - 4200)
      const begun = BEGUN.exec(text.slice(tail))
      const cut = begun ? tail + begun.index : text.length
      held = text.slice(cut)
      return Buffer.from(text.slice(0, cut), 'latin1')
    },
    end() {
      const rest = Buffer.from(held, 'latin1')
      held = ''
      return rest
    },
  }
}
