import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { exampleTarget } from '../../src/core/operation.ts'
import { createRegistry, type RegisteredOperation } from '../../src/core/registry.ts'
import type { Invocation } from '../../src/surfaces/cli/commands.ts'
import { exampleLine } from '../../src/surfaces/cli/example-line.ts'
import { buildProgram } from '../../src/surfaces/cli/program.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { workers } from '../../src/workers/index.ts'
import { createLocalWorker } from '../fixtures/local-worker.ts'

const registry = createRegistry([...workers, createProbeWorker(), createLocalWorker()])

/** What a shell makes of a line: the words that the program gets, and what stands on its standard input. */
function throughShell(line: string): { readonly words: readonly string[]; readonly stdin: string } {
  const script = `mahavishnu() { for word in "$@"; do printf '%s\\0' "$word"; done; printf '\\1'; if [ -p /dev/stdin ]; then cat; fi; }\n${line}`
  const [words = '', stdin = ''] = execFileSync('/bin/sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    .toString('utf8')
    .split('\x01')
  return { words: words.split('\0').slice(0, -1), stdin }
}

function parse(words: readonly string[]): Invocation | undefined {
  const at = words.indexOf('--')
  let found: Invocation | undefined
  const program = buildProgram({
    registry,
    version: '',
    rest: at < 0 ? null : words.slice(at + 1),
    found: (invocation) => {
      found = invocation
    },
  })
  program.parse([...words.slice(0, at < 0 ? undefined : at)], { from: 'user' })
  return found
}

/** The input that a shell, and then the command line, make of an example's line. */
function roundTrip(operation: RegisteredOperation, example: RegisteredOperation['spec']['examples'][number]) {
  const { words, stdin } = throughShell(exampleLine(operation, example))
  const call = parse(words)
  assert.equal(call?.kind, 'operation')
  const given = call.stdin === null ? call.input : { ...call.input, [call.stdin]: stdin }
  return { operation: call.operation.id, target: call.envelope.target, given }
}

describe('the examples in help and reference', () => {
  for (const operation of registry.operations) {
    for (const example of operation.spec.examples) {
      test(`${operation.id}, ${example.title}: typed into a shell, it is the call that was declared`, () => {
        const { operation: id, target, given } = roundTrip(operation, example)
        assert.equal(id, operation.id)
        assert.equal(target, exampleTarget(operation.spec, example))
        assert.deepEqual(operation.spec.input.parse(given), operation.spec.input.parse(example.input))
      })
    }
  }

  test('text of any kind makes the way', () => {
    const operation = registry.operation('local.all_fields')
    const input = { names: ['-x', '--json', "'", '\n'], labels: { a: '=', b: '$(x)' }, whole: 0, text: '' }
    assert.deepEqual(roundTrip(operation, { title: 'own', input }).given, input)
  })
})
