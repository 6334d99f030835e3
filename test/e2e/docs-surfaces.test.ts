import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { inRoot } from '../../scripts/lib/paths.ts'
import { differences, type Shown } from '../../scripts/surfaces/show-run.ts'
import { sshdMissing } from '../helpers/sshd.ts'

// What is not built is a failure of its own in a full run; a filtered one may go without.
const unbuilt = existsSync(inRoot('dist/bin.js')) ? undefined : 'needs dist: npm run build'

suite('one run on three surfaces', { skip: unbuilt ?? sshdMissing() ?? false }, () => {
  let shown: Shown

  test('MCP, CLI and HTTP show the same document, and the guide has it as it is', async () => {
    const args = [inRoot('scripts/surfaces.ts'), '--check', '--json']
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: inRoot() })
    const answer = JSON.parse(stdout)
    assert.equal(answer.ok, true)
    assert.equal(answer.differs, false)
    shown = answer.shown
    const { metadata, ...cli } = shown.cli
    assert.deepEqual(metadata, { format: 1 })
    assert.deepEqual(cli, shown.http)
    assert.deepEqual(shown.mcp, shown.http)
    const { run, events } = shown.http as { run: Record<string, unknown>; events: { type: string }[] }
    assert.equal(run.exit_code, 3)
    assert.deepEqual(
      events.map(({ type }) => type),
      ['accepted', 'started', 'finished'],
    )
  })

  test('the comparison sees a key that is missing, changed or added on one surface', () => {
    const { http, mcp, cli } = shown
    const { events: _events, ...noEvents } = http
    assert.deepEqual(differences(shown), [])
    assert.deepEqual(differences({ http, cli, mcp: { ...mcp, input: {} } }), ['mcp shows another "input" than http'])
    assert.deepEqual(differences({ http, mcp, cli: { ...cli, extra: 1 } }), ['cli shows another "extra" than http'])
    assert.equal(differences({ http: noEvents, mcp, cli })[0], 'http shows no "events"')
  })
})
