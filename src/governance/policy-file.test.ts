import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { MhvError } from '../core/errors.ts'
import { NO_POLICY } from './policy.ts'
import { loadPolicy, parsePolicy, policySchema } from './policy-file.ts'

const rule = (fields: string) => `version: 1\nname: x\nrules:\n  - id: a\n    decision: allow\n    ${fields}\n`

const wrong: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  ['an empty file', '', /^p\.yaml:1:1: the file:/],
  ['a list', '- a', /^p\.yaml:1:1: the file:/],
  ['broken YAML', 'version: 1\nname: "x', /^p\.yaml:2:\d+: /],
  ['two documents', 'version: 1\n---\nversion: 1', /^p\.yaml:\d+:\d+: /],
  ['a key twice', 'version: 1\nversion: 1', /^p\.yaml:2:1: /],
  ['no version', 'name: x\nrules: []', /format 1 only/],
  ['a newer format', 'version: 2\nname: x\nrules: []', /^p\.yaml:1:10: version: .*format 1 only/],
  ['a mistyped key', 'version: 1\nname: x\nrule: []', /^p\.yaml:.*there is no "rule"; did you mean "rules"\?/],
  [
    'a mistyped field of a rule',
    rule('target: [a]'),
    /^p\.yaml:\d:.*rules\.0: there is no "target"; did you mean "targets"\?/,
  ],
  ['no such tier', rule('tiers: [production]'), /^p\.yaml:6:13: rules\.0\.tiers\.0: /],
  ['no such effect', rule('effects: [delete]'), /^p\.yaml:6:15: rules\.0\.effects\.0: /],
  ['a text for a list', rule('targets: web1'), /^p\.yaml:6:14: rules\.0\.targets: /],
  ['an empty list, which would match nothing', rule('targets: []'), /^p\.yaml:6:14: rules\.0\.targets: /],
  ['an id with spaces', 'version: 1\nname: x\nrules: [{ id: "a b", decision: allow }]', /rules\.0\.id: letters/],
  ['no decision', 'version: 1\nname: x\nrules: [{ id: a }]', /rules\.0\.decision: /],
  [
    'two rules of one id',
    `${rule('effects: [read]')}  - { id: a, decision: deny }`,
    /^p\.yaml:7:5: two rules are called "a"/,
  ],
  ['an alias', 'version: 1\nname: &n x\nrules: *n', /^p\.yaml:3:8: aliases/],
  ['an alias of nothing', 'version: 1\nname: x\nrules: *n', /^p\.yaml:3:8: /],
  [
    'a bomb of aliases',
    `a: &a [x,x]\n${'bcdefghij'
      .split('')
      .map((c, i) => `${c}: &${c} [${`*${'abcdefghij'[i]},`.repeat(9)}]`)
      .join('\n')}`,
    /aliases/,
  ],
  ['a file that is too long', ' '.repeat(4 * 1024 * 1024 + 1), /longer than/],
]

suite('policy file', () => {
  for (const [what, text, message] of wrong) {
    test(`refuses ${what}, and says where`, () => {
      assert.throws(() => parsePolicy('p.yaml', text), { code: 'MHV_POLICY_INVALID', message })
    })
  }

  test('the examples of the guide are policies', async () => {
    const guide = await readFile(join(import.meta.dirname, '../../docs/guides/policy.md'), 'utf8')
    const [first = '', rule = ''] = [...guide.matchAll(/```yaml[^\n]*\n([\s\S]*?)```/g)].map(([, block]) => block)
    assert.equal(parsePolicy('first', first).rules.length, 3)
    assert.equal(parsePolicy('more', first + rule).rules.length, 4)
    for (const field of Object.keys(policySchema.shape.rules.element.shape))
      assert.ok(guide.includes(`\`${field}\``), field)
  })

  test('whatever the text is, there is a policy or a refusal of the table', () => {
    const words = fc.constantFrom(
      'version',
      ': ',
      '1',
      '\n',
      '  ',
      '- ',
      'rules',
      'name',
      '{',
      '}',
      '[',
      ']',
      '*',
      '&a',
      '"',
      'id',
      '!!x ',
      '|',
      '#',
      '---\n',
      '\t',
    )
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: words, maxLength: 30 })), (text) => {
        try {
          parsePolicy('p.yaml', text)
        } catch (error) {
          assert.ok(error instanceof MhvError, String(error))
          assert.equal(error.code, 'MHV_POLICY_INVALID')
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('a file that is not there is no policy; one that cannot be read is an error', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mhv-policy-'))
    const missing = join(folder, 'policy.yaml')
    assert.deepEqual(await loadPolicy(missing), { ...NO_POLICY, file: missing })
    await assert.rejects(loadPolicy(folder), { code: 'MHV_POLICY_INVALID' })
    await writeFile(missing, rule('targets: ["web*"]'))
    const read = await loadPolicy(missing)
    assert.deepEqual(read.rules, [{ id: 'a', decision: 'allow', targets: ['web*'] }])
    assert.equal(read.file, missing)
    await rm(folder, { recursive: true })
  })
})
