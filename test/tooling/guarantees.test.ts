import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  citedIds,
  guaranteeProblems,
  parseGuarantees,
  reportGuarantees,
  titlesIn,
} from '../../scripts/guarantees/guarantees.ts'
import type { TestResult } from '../../scripts/test/results.ts'

const guarantees = parseGuarantees(`
# Guarantees
| id | promise |
| --- | --- |
| SSH-03 | A changed host key is refused. |
|  CORE-01  |  Every run is journaled first.  |
text that names SSH-99 in passing
`)

function result(title: string, status: TestResult['status'] = 'passed'): TestResult {
  return { file: 'src/a.test.ts', title, status, ms: 1 }
}

describe('guarantees', () => {
  test('are the table rows that begin with an id', () => {
    assert.deepEqual(guarantees, [
      { id: 'SSH-03', sentence: 'A changed host key is refused.' },
      { id: 'CORE-01', sentence: 'Every run is journaled first.' },
    ])
    assert.throws(() => parseGuarantees('| A1-01 | a |\n| A1-01 | b |'), /twice/)
  })

  test('are cited by a title or by its suite, and other names in capitals are no citation', () => {
    assert.deepEqual(citedIds('SSH-03, CORE-01: refuses', guarantees), ['SSH-03', 'CORE-01'])
    assert.deepEqual(citedIds('suite (SSH-03) > refuses', guarantees), ['SSH-03'])
    assert.deepEqual(citedIds('UTF-16 names and SHA-256', guarantees), [])
    assert.deepEqual(citedIds('SSH-031 and XSSH-03', guarantees), [])
    assert.deepEqual(citedIds('suite > SHS-03: a slip of the pen', guarantees), ['SHS-03'])
  })

  test('are reported with their tests and the last result, those not run included', () => {
    const scanned = [
      { file: 'src/a.test.ts', title: 'SSH-03: refuses' },
      { file: 'src/b.test.ts', title: 'CORE-01: later' },
    ]
    const [ssh, core] = reportGuarantees(guarantees, [result('SSH-03: refuses', 'failed')], scanned)
    assert.equal(ssh?.result, 'failed')
    assert.equal(ssh?.tests.length, 1)
    assert.equal(core?.result, 'not run')
    assert.deepEqual(core?.tests, [{ file: 'src/b.test.ts', title: 'CORE-01: later', status: 'not run' }])
  })

  test('a promise without a test and an id that nobody promised are problems', () => {
    const problems = guaranteeProblems(guarantees, [result('SSH-03: ok'), result('SSH-77: unknown')])
    assert.equal(problems.length, 2)
    assert.match(problems.join('\n'), /CORE-01: no test cites it/)
    assert.match(problems.join('\n'), /SSH-77: cited by src\/a\.test\.ts/)
  })

  test('titles are found in sources in any quotes', () => {
    const source = `describe("A: one", () => { test.skip('B: it\\'s two', f); it(\`C: \${x}\`, f) }); contest('no')`
    assert.deepEqual(titlesIn(source), ['A: one', "B: it\\'s two", `C: ${'$'}{x}`])
  })
})
