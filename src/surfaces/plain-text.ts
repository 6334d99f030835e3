import { leftOutLine } from '../core/left-out.ts'
import { BIDIRECTIONAL } from '../core/visible-text.ts'

/**
 * Text from a remote system, made safe to show: escape sequences and control characters could move the cursor, rewrite
 * what stands above, or give a terminal orders, and bidirectional ones could turn its words around.
 */

/** ECMA-48: CSI, OSC/DCS/SOS/PM/APC strings up to their end, and two-byte escapes; then what is left of C0, DEL, C1. */
const SEQUENCES =
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]/g
const CONTROLS = new RegExp(`[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f${BIDIRECTIONAL}]`, 'g')

/**
 * Without escape sequences, control characters and bidirectional controls; a lone carriage return, which would overwrite
 * its line, ends it.
 */
export function plainText(text: string): string {
  return text.replace(SEQUENCES, '').replace(/\r+\n/g, '\n').replace(/\r/g, '\n').replace(CONTROLS, '')
}

/** The same on one line, for tables and messages. */
export function plainLine(text: string): string {
  return plainText(text)
    .replace(/\s*\n\s*/g, ' ')
    .trim()
}

/** The beginning and the end of a long text, with a line between them that counts what is missing. */
export function bounded(text: string, most: number): string {
  if (text.length <= most) return text
  const half = Math.floor(most / 2)
  return text.slice(0, half) + leftOutLine(text.length - 2 * half, 'characters') + text.slice(text.length - half)
}
