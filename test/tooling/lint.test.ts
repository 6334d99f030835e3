import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { plantedViolations, rulesThatMissTheirViolation } from '../../scripts/lint/layers.ts'
import { checkPrivateWords, checkSource } from '../../scripts/lint/sources.ts'

const messages = (findings: readonly { message: string }[]) => findings.map(({ message }) => message)

describe('the layer check', () => {
  test('TOOL-03: every rule reports what is planted for it', async () => {
    assert.ok(Object.keys(plantedViolations).length > 10)
    assert.deepEqual(await rulesThatMissTheirViolation(), [])
  })

  test('TOOL-03: every rule has a planted violation', async () => {
    const { default: config } = await import('../../.dependency-cruiser.cjs')
    const rules = config.forbidden.map((rule: { name?: string }) => rule.name)
    assert.deepEqual(rules.sort(), Object.keys(plantedViolations).sort())
  })
})

describe('the house rules', () => {
  test('a file has at most 400 lines', () => {
    assert.deepEqual(checkSource('src/core/a.ts', 'x\n'.repeat(400)), [])
    assert.match(messages(checkSource('src/core/a.ts', 'x\n'.repeat(401))).join(), /401 lines/)
    assert.deepEqual(checkSource('src/core/a.generated.ts', 'x\n'.repeat(401)), [])
  })

  test('a name says what is inside', () => {
    for (const file of ['src/utils/a.ts', 'src/core/helpers.ts', 'src/common.ts', 'src/misc/b.ts'])
      assert.equal(checkSource(file, '').length, 1, file)
    assert.deepEqual(checkSource('src/core/common-name.ts', ''), [])
  })

  test('only the command line writes to stdout, and a comment is no output', () => {
    assert.equal(checkSource('src/runtime/a.ts', 'process.stdout.write(x)\n')[0]?.line, 1)
    assert.equal(checkSource('src/surfaces/mcp/a.ts', "\nconsole.log('x')\n")[0]?.line, 2)
    assert.deepEqual(checkSource('src/surfaces/cli/a.ts', 'process.stdout.write(x)\n'), [])
    assert.deepEqual(checkSource('src/bin.ts', 'process.stdout.write(x)\n'), [])
    assert.deepEqual(checkSource('src/core/a.ts', '/**\n * never process.stdout\n */\n// console.log\n'), [])
    assert.equal(checkSource('src/core/a.ts', "const u = 'http://x'; console.log(u)\n").length, 1)
  })

  test('nothing names the machine or a package host', () => {
    const words = ['/somewhere/checkout', 'build-host-7']
    assert.match(
      messages(checkPrivateWords('docs/a.md', 'see /somewhere/checkout/x\n', words)).join(),
      /names this machine/,
    )
    const host = `${'https'}://registry.example.org/x`
    assert.match(
      messages(checkPrivateWords('package-lock.json', `"resolved": "${host}"`, words)).join(),
      /package host/,
    )
    assert.deepEqual(checkPrivateWords('docs/a.md', 'https://example.org/about\n', words), [])
  })
})
