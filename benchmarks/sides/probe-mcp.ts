/**
 * Our MCP server over stdio with the probe as its worker: everything of a journaled call but the work itself. The
 * folder of the instance is the argument.
 */
import { createInstances, production } from '../../src/app.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { serveMcp } from '../../src/surfaces/mcp/stdio.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'

const [, , folder = ''] = process.argv
const registry = createRegistry([createProbeWorker()])
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())

await serveMcp({
  registry,
  instances: createInstances({ ...production(), registry, env: {} }),
  options: { folder, doing: 'a benchmark' },
  version: '0.0.0',
  stdin: process.stdin,
  stdout: process.stdout,
  onError: (error) => process.stderr.write(`${error.message}\n`),
  stop: stop.signal,
})
process.exit(0)
