import { encodeKeyPress } from '../../src/workers/terminal/keys/key-bytes.ts'
import { PLAIN_MODES } from '../../src/workers/terminal/keys/key-events.ts'
import { MODIFIER_WORDS, type Modifier, NAMED_KEYS } from '../../src/workers/terminal/keys/key-names.ts'
import type { Generator } from './generator.ts'

const COLUMNS: readonly (readonly [string, readonly Modifier[]])[] = [
  ['plain', []],
  ['`Shift+`', ['shift']],
  ['`Alt+`', ['alt']],
  ['`Ctrl+`', ['ctrl']],
]
const APPLICATION = { ...PLAIN_MODES, applicationCursor: true, applicationKeypad: true }

/** Bytes for people: `ESC [ A`, `^H`. */
function written(bytes: string | undefined): string {
  if (bytes === undefined) return '—'
  const words = [...bytes].map((character) => {
    if (character === '\x1b') return 'ESC '
    if (character === '\x7f') return '^?'
    if (character < ' ') return `^${String.fromCharCode(character.charCodeAt(0) + 64)}`
    return character === ' ' ? 'space' : character
  })
  return `\`${words.join('').trim()}\``
}

function rows(): readonly string[] {
  return NAMED_KEYS.map(({ name, aliases }) => {
    const press = (modifiers: readonly Modifier[]) => written(encodeKeyPress({ name, modifiers }, PLAIN_MODES))
    const cells = COLUMNS.map(([, modifiers]) => press(modifiers))
    const application = written(encodeKeyPress({ name, modifiers: [] }, APPLICATION))
    const names = [name, ...aliases].map((word) => `\`${word}\``).join(' ')
    return `| ${[names, ...cells, application === cells[0] ? '' : application].join(' | ')} |`
  })
}

function render(): string {
  const words = Object.entries(MODIFIER_WORDS)
    .map(([word, modifier]) => (word === modifier ? `\`${word}\`` : `\`${word}\` (${modifier})`))
    .join(', ')
  return `<!-- Made by npm run gen from src/workers/terminal/keys/key-names.ts. -->
# Keys of a terminal

Names in any case, with modifiers in front: \`Ctrl+C\`, \`Alt+b\`, \`Ctrl+Shift+Up\`. Modifiers: ${words}; in \`{key}\` also \`C-c\`,
\`M-x\`, \`S-Up\` and \`^C\`. Any single character is a key, too. What has no code in the encoding of xterm is refused. The
last column is what a key sends where the program has switched to application cursor keys or keypad.

| key | ${COLUMNS.map(([title]) => title).join(' | ')} | application mode |
| --- | ${COLUMNS.map(() => '---').join(' | ')} | --- |
${rows().join('\n')}
`
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/terminal-keys.md', render }]
