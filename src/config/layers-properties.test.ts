import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { LOCAL, load, MAIN, USER } from '../../test/fixtures/config/loading.ts'
import { registry } from '../../test/fixtures/config/workers.ts'
import type { MhvError } from '../core/errors.ts'
import { envText } from './env.ts'
import { settingFields } from './schema.ts'

/** A layer's maps of this shape merge; everything else is a whole. */
const layerValues = fc.record(
  {
    label: fc.string({ maxLength: 20 }),
    most: fc.integer({ min: 1, max: 1000 }),
    hosts: fc.array(fc.string({ minLength: 1, maxLength: 5 }), { maxLength: 3 }),
    brokers: fc.dictionary(fc.constantFrom('a', 'b', 'c', 'toString', 'x-y'), fc.string(), { maxKeys: 4 }),
    nested: fc.record({ deep: fc.record({ level: fc.integer() }, { requiredKeys: [] }) }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
)

function modelMerge(lower: unknown, upper: unknown): unknown {
  const isMap = (value: unknown): value is object =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isMap(lower) || !isMap(upper)) return upper
  const keys = new Set([...Object.keys(lower), ...Object.keys(upper)])
  const value = (map: object, key: string) => (Object.hasOwn(map, key) ? map[key as keyof typeof map] : undefined)
  return Object.fromEntries(
    [...keys].map((key) => [
      key,
      Object.hasOwn(upper, key) ? modelMerge(value(lower, key), value(upper, key)) : value(lower, key),
    ]),
  )
}

test('property: layers merge as a model of maps says they do', async () => {
  const fields = settingFields(registry)
  const envOf = (values: object) =>
    Object.fromEntries(
      Object.entries(values).flatMap(([key, value]) => {
        if (key === 'nested') {
          const level = (value as { deep?: { level?: number } }).deep?.level
          return level === undefined ? [] : [['MAHAVISHNU_DEMO__NESTED__DEEP__LEVEL', String(level)]]
        }
        return [[fields.find((field) => field.key === `demo.${key}`)?.env ?? '', envText(value)]]
      }),
    )
  await fc.assert(
    fc.asyncProperty(layerValues, layerValues, layerValues, layerValues, async (main, local, user, environment) => {
      const json = (values: object) => JSON.stringify({ demo: values })
      const files = { [MAIN]: json(main), [LOCAL]: json(local), [USER]: json(user) }
      const { values } = await load({ files, env: envOf(environment) })
      const defaults = (await load()).values['demo']
      const expected = [main, local, user, environment].reduce(modelMerge as never, defaults as never)
      assert.deepEqual(values['demo'], expected)
    }),
    { numRuns: 60 },
  )
})

test('property: whatever a layer has, no error has a value of it in its text', async () => {
  const secret = 'Zq7secretZq7'
  const keys = settingFields(registry).map((field) => field.path)
  const nest = (path: readonly string[], value: unknown) => path.reduceRight((inner, key) => ({ [key]: inner }), value)
  const wrong = fc.constantFrom<(path: readonly string[]) => string>(
    (path) => JSON.stringify(nest(path, secret)),
    (path) => JSON.stringify(nest(path, [secret])),
    (path) => JSON.stringify(nest(path, { [`a b ${secret}`]: secret })),
    (path) => JSON.stringify(nest([...path, 'inner'], secret)),
    (path) => JSON.stringify(nest([...path.slice(0, -1), `password: ${secret}`], 1)),
    (path) => `${path[0]}: ${secret}`,
    (path) => `${path[0]}: "${secret}`,
    (path) => `${path[0]}: {${secret}`,
    (path) => `${path[0]}:${secret}`,
    (path) => `${path[0]}: *${secret}`,
    (path) => `${path[0]}: !${secret} 1`,
    (path) => `${path[0]}: a\n  ${secret}: "\\${secret}"\n\t${secret}`,
    () => secret,
    () => `- ${secret}`,
  )
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...keys), wrong, fc.boolean(), async (path, render, plain) => {
      const env = plain ? { [`MAHAVISHNU_${path.join('__').toUpperCase()}`]: `{${secret}` } : {}
      const flags = plain ? [`${path.join('.')}=[${secret}`, secret, `=${secret}`, `a b ${secret}=1`] : []
      const error = await load({ files: { [MAIN]: render(path) }, env, flags }).catch((thrown: MhvError) => thrown)
      if (!(error instanceof Error)) return
      const texts = [error.message, error.stack, JSON.stringify(error.toWire()), String(error.cause)]
      assert.equal(texts.join('\n').includes(secret), false, texts.join('\n'))
    }),
    { numRuns: 300 },
  )
})
