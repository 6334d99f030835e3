/**
 * The transcript of the quickstart in README.md: made by running it, so that it cannot be invented.
 *
 *   npm run transcript              runs the quickstart and writes the transcript into README.md
 *   npm run transcript -- --check   compares instead, exit 1 when they differ
 *
 * What differs from run to run (ids, times, ports, folder, machine) is replaced by fixed examples on both sides.
 */
import './lib/assert-node.ts'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { replaceRegion } from './gen/generator.ts'
import { createOutput } from './lib/output.ts'
import { inRoot } from './lib/paths.ts'
import { steady } from './transcript/steady.ts'

const output = createOutput(process.argv.slice(2))
/** Tells the test of the pages' blocks who checks this one. */
const INFO = 'no-run="recorded by npm run transcript; test/e2e/quickstart.test.ts compares it"'
const readme = inRoot('README.md')

function runQuickstart(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mhv-transcript-'))
  const args = [inRoot('scripts/quickstart.ts'), '--require-sshd', '--folder', folder]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: inRoot() })
  rmSync(folder, { recursive: true, force: true })
  if (status !== 0) throw new Error(`the quickstart failed:\n${stdout}${stderr}`)
  return steady(stdout, folder)
}

const before = readFileSync(readme, 'utf8')
const text = `\`\`\`text ${INFO}\n$ npm run quickstart\n${runQuickstart().trimEnd()}\n\`\`\``
const after = replaceRegion(before, 'transcript', text)
const differs = after !== before
const check = output.args.includes('--check')
if (!check) writeFileSync(readme, after)
output.finish(
  { file: 'README.md', differs, written: differs && !check },
  differs
    ? check
      ? 'README.md has another transcript; run npm run transcript'
      : 'wrote README.md'
    : 'README.md is up to date',
)
process.exitCode = check && differs ? 1 : 0
