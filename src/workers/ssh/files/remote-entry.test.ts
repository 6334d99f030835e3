import assert from 'node:assert/strict'
import { test } from 'node:test'
import { entryData, entryLine } from './remote-entry.ts'
import { sftpStat } from './sftp-stat.ts'

const facts = { kind: 'symlink', size: 3, mode: 0o777, mtime: 0 } as const
/** Control characters of C0 and C1, DEL, and characters that turn text around or have no glyph. */
const HIDDEN = ['\n', '\x1b', '\x7f', '\x85', '\x9b', '\u061c', '\u200b', '\u200f', '\u202e', '\u2066', '\ufeff']

test('a name is one line in which every character can be seen, and told from other names', () => {
  for (const hidden of HIDDEN) {
    const entry = entryData(`a${hidden}gpj.exe`, facts)
    for (const line of [
      entryLine(entry),
      sftpStat.summarize?.({ ...entry, link_target: `x${hidden}` })?.output ?? '',
    ]) {
      assert.ok(!line.includes(hidden), JSON.stringify(line))
      assert.match(line, /"a\\(?:n|u[0-9a-f]{4})gpj\.exe"/)
    }
  }
  assert.match(entryLine(entryData('ü 🙂', facts)), / ü 🙂$/)
})
