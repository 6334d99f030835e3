import { BIDIRECTIONAL } from '../../core/visible-text.ts'

const CONTROLS = new RegExp(`[\\x00-\\x1f\\x7f-\\x9f${BIDIRECTIONAL}]+`, 'g')

/**
 * Text that came from a host, made fit for an error message: no control characters, so that it can move no cursor,
 * start no line and turn no words around, and no longer than `max` characters.
 */
export function plainText(text: string, max = 200): string {
  const plain = text
    .replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '')
    .replace(CONTROLS, ' ')
    .trim()
  return plain.length <= max ? plain : `${plain.slice(0, max)}…`
}
