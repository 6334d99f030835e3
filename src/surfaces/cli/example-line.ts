import { exampleTarget, type OperationExample } from '../../core/operation.ts'
import type { RegisteredOperation } from '../../core/registry.ts'
import type { ControlCall } from '../../runtime/control.ts'
import { controlSchemas, operationSchemas } from '../json-schema.ts'
import { flagOf, operationName } from '../names.ts'
import { type Field, fieldsOf } from './fields.ts'
import { quoteWord } from './quote.ts'

const PROGRAM = 'mahavishnu'

/** An example of a declaration as a line to type. */
export function exampleLine(
  operation: RegisteredOperation,
  example: OperationExample<Record<string, unknown>>,
): string {
  const { spec } = operation
  const hints = spec.cli ?? {}
  const input = { ...example.input }
  const take = (field: string | undefined) => {
    const value = field === undefined ? undefined : input[field]
    if (field === undefined || typeof value !== 'string') return undefined
    delete input[field]
    return value
  }
  const stdin = take(hints.stdin)
  const rest = take(hints.rest)
  const words = [
    PROGRAM,
    ...operationName(operation).cli,
    ...[exampleTarget(spec, example) ?? take(hints.argument)].flatMap((each) =>
      each === undefined ? [] : quoteWord(each),
    ),
    ...optionWords(fieldsOf(operationSchemas(operation).input), input),
    ...(stdin === undefined ? [] : ['--stdin']),
    ...(rest === undefined ? [] : ['--', quoteWord(rest)]),
  ]
  const line = words.join(' ')
  return stdin === undefined ? line : `printf ${quoteWord(printfFormat(stdin))} | ${line}`
}

/** A text of several lines on one line, as the format of `printf`. */
function printfFormat(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('%', '%%').replaceAll('\n', '\\n').replace(/^-/, '\\055')
}

/** `cli` are the words of the command: its own, or its shortcut. */
export function controlExampleLine(control: ControlCall, cli: readonly string[] = control.cli): string {
  const { argument, example, effect } = control
  const { [argument ?? '']: value, ...input } = { ...example } as Record<string, unknown>
  const words = optionWords(fieldsOf(controlSchemas(control).input), input)
  // An example is for scripts as well, where nobody is asked.
  const yes = effect === 'destroy' ? ['--yes'] : []
  return [PROGRAM, ...cli, ...(value === undefined ? [] : [quoteWord(String(value))]), ...words, ...yes].join(' ')
}

function optionWords(fields: readonly Field[], input: Readonly<Record<string, unknown>>): readonly string[] {
  return fields.flatMap((field) => (input[field.name] === undefined ? [] : wordsOf(field, input[field.name])))
}

function wordsOf(field: Field, value: unknown): readonly string[] {
  const flag = flagOf(field.name)
  if (field.kind === 'boolean') {
    if (value === field.default) return []
    return [value === false ? flag.replace('--', '--no-') : flag]
  }
  if (field.kind === 'list') return (value as readonly unknown[]).flatMap((each) => [flag, quoteWord(String(each))])
  if (field.kind === 'map') {
    return Object.entries(value as object).flatMap(([key, each]) => [flag, quoteWord(`${key}=${each}`)])
  }
  return [flag, quoteWord(typeof value === 'string' ? value : JSON.stringify(value))]
}
