import { type Effect, exampleTarget, mayHaveTarget } from '../../core/operation.ts'
import type { RegisteredOperation } from '../../core/registry.ts'
import type { ControlCall } from '../../runtime/control.ts'
import { controlSchemas, type PublicSchema, publicSchema } from '../json-schema.ts'
import { jsonBytes } from './answer-size.ts'
import { EFFECT_TEXT } from './tools.ts'

/** Bytes of JSON of the operations of one answer; the text for people names them once more. */
const FOUND_BYTES = 48_000
const MAX_FOUND = 20

/** What can be found: an operation, or a call about runs and workers that has no tool of its own. */
interface Searchable {
  readonly id: string
  readonly title: string
  readonly text: readonly [summary: string, description: string]
  describe(): FoundOperation
}

/** Finds operations: the more words of the query they have, and the earlier these stand, the earlier they come. */
export function searchOperations(
  operations: readonly RegisteredOperation[],
  controls: readonly ControlCall[],
  { query, offset }: { readonly query: string; readonly offset: number },
) {
  const words = query
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '')
  const found = [...operations.map(searchableOperation), ...controls.map(searchableControl)]
    .map((searchable) => ({ searchable, score: scoreOf(searchable, words) }))
    .filter(({ score }) => words.length === 0 || score > 0)
    .sort((a, b) => b.score - a.score)
  const shown: FoundOperation[] = []
  let left = FOUND_BYTES
  for (const { searchable } of found.slice(offset, offset + MAX_FOUND)) {
    const described = searchable.describe()
    const bytes = jsonBytes(described)
    if (bytes > left && shown.length > 0) break
    shown.push(bytes > left ? { ...described, input_schema: null, example: {} } : described)
    left -= bytes
  }
  const end = offset + shown.length
  return { operations: shown, found: found.length, next: end < found.length ? end : null }
}

function scoreOf({ id, title, text }: Searchable, words: readonly string[]): number {
  const places = [`${id} ${title}`, ...text].map((each) => each.toLowerCase())
  const scores = words.map((word) => {
    const place = places.findIndex((text) => text.includes(word))
    return place < 0 ? 0 : 2 ** (places.length - place)
  })
  return scores.reduce((sum, score) => sum + score, 0)
}

interface FoundOperation {
  readonly operation: string
  readonly title: string
  readonly description: string
  readonly effect: Effect
  readonly target: boolean
  readonly input_schema: PublicSchema | null
  readonly example: Readonly<Record<string, unknown>>
}

function searchableOperation(operation: RegisteredOperation): Searchable {
  const { id, spec } = operation
  return { id, title: spec.title, text: [spec.summary, spec.description ?? ''], describe: () => describe(operation) }
}

function searchableControl(control: ControlCall): Searchable {
  const { name, title, summary, effect, example } = control
  const described = () => ({
    operation: name,
    title,
    description: summary,
    effect,
    target: false,
    input_schema: controlSchemas(control).input,
    example: { operation: name, input: example },
  })
  return { id: name, title, text: [summary, ''], describe: described }
}

function describe({ id, spec }: RegisteredOperation): FoundOperation {
  const [example] = spec.examples
  const target = exampleTarget(spec, example)
  const text = spec.description === undefined ? spec.summary : `${spec.summary} ${spec.description}`
  return {
    operation: id,
    title: spec.title,
    description: `${text} ${EFFECT_TEXT[spec.effect]}`,
    effect: spec.effect,
    target: mayHaveTarget(spec),
    input_schema: publicSchema(spec.input, 'input'),
    example: {
      operation: id,
      ...(target === undefined ? {} : { target }),
      input: example?.input ?? {},
    },
  }
}
