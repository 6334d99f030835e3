import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { TIERS } from '../core/context.ts'
import { matchesPattern } from '../core/glob.ts'
import { EFFECTS } from '../core/operation.ts'
import {
  type Decision,
  decide,
  NO_POLICY,
  type Policy,
  type PolicyQuestion,
  type PolicyRule,
  ruleToAdd,
} from './policy.ts'
import { loadPolicy, parsePolicy } from './policy-file.ts'

const oddName = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }),
  fc.string({
    unit: fc.constantFrom(
      '*',
      '?',
      '\\',
      '"',
      "'",
      ':',
      '#',
      '\n',
      '\t',
      ' ',
      'a',
      '-',
      '\u2028',
      '\u0085',
      '\ufeff',
      '\u202e',
    ) as fc.Arbitrary<string>,
    minLength: 1,
    maxLength: 12,
  }),
  fc.constantFrom(
    '[x]',
    '- a',
    '{}',
    '!!js',
    '&a',
    '*a',
    'null',
    'yes',
    '1',
    '~',
    '__proto__',
    '\ud800',
    '𝄞',
    '\u{e0001}',
  ),
)

const target = fc.option(
  fc.record({ name: oddName, tier: fc.constantFrom(...TIERS), tags: fc.array(oddName, { maxLength: 2 }) }),
)

const question: fc.Arbitrary<PolicyQuestion> = fc.record({
  principal: fc.record({ id: oddName, kind: fc.constantFrom('user' as const, 'agent' as const) }),
  worker: oddName,
  operation: oddName,
  effect: fc.constantFrom(...EFFECTS),
  target,
})

const GENERAL = 'version: 1\nname: test\nrules:\n'

/** A policy file whose rules begin with the given ones. */
function withRules(before: string, rules: readonly PolicyRule[]): string {
  return `${GENERAL}${before}\n${rules.map((rule) => `  - ${JSON.stringify(rule)}`).join('\n')}\n`
}

suite('policy: patterns', () => {
  test('match as the same pattern written as a regular expression does', () => {
    const letters = fc.constantFrom('a', 'b', '.', '*', '?', '\\', '𝄞')
    const pattern = fc.string({ unit: letters, maxLength: 8 })
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '\\', '𝄞'), maxLength: 8 })
    fc.assert(
      fc.property(pattern, name, (text, subject) => {
        const source = text.replace(/\\[\s\S]|[\s\S]/gu, (part) => {
          if (part === '*') return '[\\s\\S]*'
          if (part === '?') return '[\\s\\S]'
          return (part.length > 1 && part[0] === '\\' ? part.slice(1) : part).replace(/[.*?\\]/, '\\$&')
        })
        assert.equal(matchesPattern(text, subject), new RegExp(`^${source}$`, 'u').test(subject))
      }),
      { numRuns: 2_000 },
    )
  })

  test('no pattern takes long', () => {
    const started = process.cpuUsage()
    assert.equal(matchesPattern('*a'.repeat(400), `${'a'.repeat(399)}b`), false)
    assert.ok(process.cpuUsage(started).user < 1_000_000)
  })
})

suite('policy: decisions', () => {
  test('no policy, no permission', () => {
    fc.assert(
      fc.property(question, (asked) => {
        assert.deepEqual(decide(NO_POLICY, asked), { decision: 'deny', rule: null })
      }),
    )
  })

  test('a deny wins wherever it stands', () => {
    const deny: PolicyRule = { id: 'no', decision: 'deny' }
    const rules = fc.array(fc.constantFrom<Decision>('allow', 'approve'), { maxLength: 5 })
    const check = (decideBy: typeof decide) =>
      fc.property(question, rules, fc.nat(5), (asked, decisions, place) => {
        const all: PolicyRule[] = decisions.map((decision, index) => ({ id: `r${index}`, decision }))
        all.splice(place, 0, deny)
        assert.equal(decideBy({ name: 'x', file: null, rules: all }, asked).decision, 'deny')
      })
    fc.assert(check(decide))
    // Negative control: where the first match decides alone, the property fails.
    const firstOnly: typeof decide = ({ rules: all }) => ({
      decision: all[0]?.decision ?? 'deny',
      rule: all[0] ?? null,
    })
    assert.throws(() => fc.assert(check(firstOnly)))
  })

  test('among the others the first match decides', () => {
    const asked = {
      principal: { id: 'user:1', kind: 'user' },
      worker: 'ssh',
      operation: 'ssh.execute',
      effect: 'write',
      target: null,
    } as const
    const rules: PolicyRule[] = [
      { id: 'others', decision: 'allow', principals: ['user:2'] },
      { id: 'asks', decision: 'approve', operations: ['ssh.*'] },
      { id: 'all', decision: 'allow' },
    ]
    assert.equal(decide({ name: 'x', file: null, rules }, asked).rule?.id, 'asks')
    assert.equal(decide({ name: 'x', file: null, rules: rules.toReversed() }, asked).rule?.id, 'all')
  })

  test('what acts on no target counts as prod, and matches no rule about targets or tags', () => {
    const asked = {
      principal: { id: 'a', kind: 'agent' },
      worker: 'probe',
      operation: 'probe.look',
      effect: 'read',
      target: null,
    } as const
    const by = (rule: Partial<PolicyRule>) =>
      decide({ name: 'x', file: null, rules: [{ id: 'r', decision: 'allow', ...rule }] }, asked).decision
    assert.equal(by({ tiers: ['prod'] }), 'allow')
    assert.equal(by({ tiers: ['dev', 'staging'] }), 'deny')
    assert.equal(by({ targets: ['*'] }), 'deny')
    assert.equal(by({ tags: ['x'] }), 'deny')
  })

  test('every field of a rule narrows it', () => {
    const asked: PolicyQuestion = {
      principal: { id: 'agent:a', kind: 'agent' },
      worker: 'ssh',
      operation: 'ssh.execute',
      effect: 'write',
      target: { name: 'web1', tier: 'dev', tags: ['eu', 'web'] },
    }
    const matching: Partial<PolicyRule> = {
      principals: ['agent:*'],
      workers: ['ss?'],
      operations: ['ssh.execute'],
      targets: ['db*', 'web*'],
      tags: ['us', 'eu'],
      tiers: ['dev'],
      effects: ['write'],
    }
    const other: Partial<PolicyRule> = {
      principals: ['agent:b'],
      workers: ['mqtt'],
      operations: ['ssh.sftp*'],
      targets: ['web'],
      tags: ['us'],
      tiers: ['prod'],
      effects: ['read', 'destroy'],
    }
    const decision = (rule: Partial<PolicyRule>) =>
      decide({ name: 'x', file: null, rules: [{ id: 'r', decision: 'allow', ...rule }] }, asked).decision
    assert.equal(decision(matching), 'allow')
    for (const field of Object.keys(other)) {
      assert.equal(decision({ ...matching, [field]: other[field as keyof PolicyRule] }), 'deny', field)
    }
  })
})

suite('policy: the rule that a refusal prints', () => {
  const refusing = fc.constantFrom<readonly PolicyRule[]>([], [{ id: 'asks', decision: 'approve' }])

  test('allows the question when it is put first, whatever the names are', () => {
    fc.assert(
      fc.property(question, refusing, (asked, rules) => {
        assert.notEqual(decide({ name: 'x', file: null, rules }, asked).decision, 'allow')
        const policy = parsePolicy('p.yaml', withRules(ruleToAdd(asked), rules))
        assert.equal(decide(policy, asked).decision, 'allow')
      }),
      { numRuns: 1_000 },
    )
    // Negative control: without the rule the same policy does not allow it.
    fc.assert(
      fc.property(question, refusing, (asked, rules) => {
        const text = rules.length > 0 ? withRules('', rules) : 'version: 1\nname: x\nrules: []'
        assert.notEqual(decide(parsePolicy('p.yaml', text), asked).decision, 'allow')
      }),
    )
  })

  test('allows nothing else: not another principal, operation, effect or target', () => {
    fc.assert(
      fc.property(question, question, (asked, other) => {
        const policy = parsePolicy('p.yaml', withRules(ruleToAdd(asked), []))
        const variants: readonly [boolean, PolicyQuestion][] = [
          [other.principal.id !== asked.principal.id, { ...asked, principal: other.principal }],
          [other.operation !== asked.operation, { ...asked, operation: other.operation }],
          [other.effect !== asked.effect, { ...asked, effect: other.effect }],
          [asked.target !== null && other.target?.name !== asked.target.name, { ...asked, target: other.target }],
        ]
        for (const [differs, variant] of variants) {
          assert.equal(decide(policy, variant).decision, differs ? 'deny' : 'allow')
        }
      }),
      { numRuns: 500 },
    )
  })

  test('of two questions can both be added', () => {
    fc.assert(
      fc.property(question, question, (one, two) => {
        fc.pre(ruleToAdd(one) !== ruleToAdd(two))
        const policy = parsePolicy('p.yaml', withRules(`${ruleToAdd(one)}\n${ruleToAdd(two)}`, []))
        assert.equal(policy.rules.length, 2)
      }),
    )
  })
})

suite('policy: the starter policies', () => {
  const tables: Record<string, Record<string, readonly [dev: Decision, staging: Decision, prod: Decision]>> = {
    observer: {
      read: ['allow', 'allow', 'allow'],
      write: ['deny', 'deny', 'deny'],
      destroy: ['deny', 'deny', 'deny'],
    },
    operator: {
      read: ['allow', 'allow', 'allow'],
      write: ['allow', 'allow', 'allow'],
      destroy: ['allow', 'allow', 'approve'],
    },
    'agent-safe': {
      read: ['allow', 'allow', 'allow'],
      write: ['allow', 'approve', 'approve'],
      destroy: ['allow', 'approve', 'deny'],
    },
  }

  function table(policy: Policy): Record<string, Decision[]> {
    const ask = (effect: PolicyQuestion['effect'], tier: (typeof TIERS)[number]) =>
      decide(policy, {
        principal: { id: 'agent:a', kind: 'agent' },
        worker: 'ssh',
        operation: 'ssh.execute',
        effect,
        target: { name: 'web1', tier, tags: [] },
      }).decision
    return Object.fromEntries(EFFECTS.map((effect) => [effect, TIERS.map((tier) => ask(effect, tier))]))
  }

  for (const [name, expected] of Object.entries(tables)) {
    test(`${name} decides as its table says, also without a target`, async () => {
      const policy = await loadPolicy(join(import.meta.dirname, '../../policies', `${name}.yaml`))
      assert.equal(policy.name, name)
      assert.deepEqual(table(policy), expected)
      for (const effect of EFFECTS) {
        const asked = {
          principal: { id: 'a', kind: 'agent' },
          worker: 'probe',
          operation: 'probe.x',
          effect,
          target: null,
        } as const
        assert.equal(decide(policy, asked).decision, expected[effect]?.[2], effect)
      }
    })
  }
})
