/**
 * One run, seen from every surface: makes it on a real SSH server, asks MCP, CLI and HTTP for it, and stops when they
 * do not show the same. The document goes into its guide, with example ids and times.
 *
 *   npm run surfaces              writes the guide
 *   npm run surfaces -- --check   compares it instead, exit 1 when it differs
 */
import './lib/assert-node.ts'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { replaceRegion } from './gen/generator.ts'
import { createOutput } from './lib/output.ts'
import { inRoot } from './lib/paths.ts'
import { startBuiltInServer, startSystemSshd, systemSshd } from './quickstart/ssh-server.ts'
import { differences, type Shown, SURFACES, showRun } from './surfaces/show-run.ts'
import { steady } from './transcript/steady.ts'

const GUIDE = 'docs/guides/one-run-three-surfaces.md'
const COMMAND = 'echo "a line on stdout"; echo "a line on stderr" >&2; exit 3'
const output = createOutput(process.argv.slice(2))

async function recordRun(): Promise<{ shown: Shown; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-surfaces-'))
  await using undo = new AsyncDisposableStack()
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const sshd = await systemSshd()
  const server = sshd === undefined ? await startBuiltInServer(folder) : await startSystemSshd(sshd, folder)
  undo.defer(() => server.stop())
  return { shown: await showRun(folder, server, COMMAND), folder }
}

/** The recorded part of the guide. @param folder the instance folder, which is replaced by an example */
function section({ http }: Shown, folder: string): string {
  const runId = (http.run as { run_id: string }).run_id
  const lines = [
    '| surface | asked by |',
    '| --- | --- |',
    ...Object.entries(SURFACES).map(([name, asked]) => `| ${name.toUpperCase()} | ${asked} |`),
    '',
    `All of them answered with this document about run \`${runId}\`:`,
    '',
    '```json',
    JSON.stringify(http, undefined, 2),
    '```',
  ]
  return steady(lines.join('\n'), folder)
}

async function main(): Promise<void> {
  const check = output.args.includes('--check')
  const { shown, folder } = await recordRun()
  const different = differences(shown)
  if (different.length > 0) throw new Error(`the surfaces do not agree:\n${different.join('\n')}`)
  const before = readFileSync(inRoot(GUIDE), 'utf8')
  const after = replaceRegion(before, 'one-run', section(shown, folder))
  const differs = after !== before
  if (!check) writeFileSync(inRoot(GUIDE), after)
  const closing = check ? `${GUIDE} shows another run; run npm run surfaces` : `wrote ${GUIDE}`
  output.finish(
    { ok: !(check && differs), file: GUIDE, surfaces: Object.keys(SURFACES), differs, shown },
    differs ? closing : `${GUIDE} is up to date; ${Object.keys(SURFACES).join(', ')} agree`,
  )
  process.exitCode = check && differs ? 1 : 0
}

await main()
