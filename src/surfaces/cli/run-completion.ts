import { homedir } from 'node:os'
import { EXIT } from '../../core/error-table.ts'
import { RESULT_FORMAT, type WorkerResult } from '../../core/result.ts'
import { subjectOf } from '../outcome.ts'
import { plainLine } from '../plain-text.ts'
import type { InstancePlace, Invocation } from './commands.ts'
import { type Candidate, completionAt } from './completion.ts'
import { completionScript, FOLDERS_MARK } from './completion-scripts.ts'
import type { ValueSource } from './completion-source.ts'
import { type Session, withInstance } from './session.ts'

export function runCompletion(
  { globals, out }: Session,
  { shell }: { readonly shell: 'bash' | 'zsh' | 'fish' },
): number {
  const script = completionScript(shell)
  if (globals.json) out.document({ shell, script, metadata: { format: RESULT_FORMAT } })
  else out.say(script)
  return EXIT.ok
}

/** Somebody waits for the answer with a finger on the key: later than this it helps nobody. Milliseconds. */
const LATEST_MS = 2_000

/** Runs, or dead letters, that are offered, newest first. */
const MOST_OFFERED = 50
const MOST_DESCRIPTION = 80

/** What means something to a shell is not offered: names are data of others, and would stand on a command line. */
const SAFE = /^[A-Za-z0-9_.:@%+=,/-]+$/

/**
 * Prints what may stand at the cursor. A shell in the middle of a line is no place to tell of anything: what cannot be
 * read yields no values.
 */
export async function runComplete(
  session: Session,
  { program, words }: Extract<Invocation, { kind: 'complete' }>,
): Promise<number> {
  const { candidates, source, lead, typed, folder } = completionAt(program, words)
  const live = source === null ? [] : await inTime(session, () => valuesOf(session, source, placeOf(folder)))
  if (live === FOLDERS_MARK) {
    session.out.say(FOLDERS_MARK)
    return EXIT.ok
  }
  const lines = [...candidates, ...live]
    .filter(({ value }) => value.startsWith(typed) && SAFE.test(value))
    .map(({ value, description }) => `${lead}${value}\t${shortened(description)}`)
  if (lines.length > 0) session.out.say(lines.join('\n'))
  return EXIT.ok
}

/** As the shell would have done before it called a program. */
function placeOf(folder: string | undefined): InstancePlace {
  return folder === undefined ? {} : { folder: folder.replace(/^~(?=\/|$)/, homedir()) }
}

function shortened(description: string): string {
  const line = plainLine(description).replaceAll('\t', ' ')
  return line.length <= MOST_DESCRIPTION ? line : `${line.slice(0, MOST_DESCRIPTION - 1)}…`
}

type Values = readonly Candidate[] | typeof FOLDERS_MARK

async function inTime({ io }: Session, look: () => Promise<Values>): Promise<Values> {
  const late = Promise.withResolvers<Values>()
  const timer = setTimeout(() => {
    late.resolve([])
    // Whatever still holds on would keep the shell waiting.
    setImmediate(() => io.exit(EXIT.ok))
  }, LATEST_MS)
  try {
    return await Promise.race([look().catch(() => []), late.promise])
  } finally {
    clearTimeout(timer)
  }
}

const plain = (value: string): Candidate => ({ value, description: '' })

async function valuesOf(session: Session, source: ValueSource, place: InstancePlace): Promise<Values> {
  const { registry, config } = session.app
  switch (source.kind) {
    case 'words':
      return source.words.map(plain)
    case 'folders':
      return FOLDERS_MARK
    case 'targets':
      return (await config.targets(place, source.worker)).map(plain)
    case 'workers':
      return registry.workers.map(({ name, title }) => ({ value: name, description: title }))
    case 'operations':
      return registry.operations.map(({ id, spec }) => ({ value: id, description: spec.summary }))
    case 'settings':
      return (await config.show(place)).map(({ key }) => plain(key))
    case 'assignments':
      return (await config.show(place)).map(({ key }) => plain(`${key}=`))
    case 'runs':
      return runsOf({ ...session, globals: { ...session.globals, place } })
    case 'letters':
      return lettersOf({ ...session, globals: { ...session.globals, place } })
  }
}

function lettersOf(session: Session): Promise<readonly Candidate[]> {
  return withInstance(session, 'look', 'completion', async ({ control, principal }) => {
    const { letters } = (await control({ name: 'dlq_list', input: { limit: MOST_OFFERED }, principal })) as {
      letters: readonly { letter_id: string; operation: string; target: string | null; state: string }[]
    }
    return letters.map((letter) => ({ value: letter.letter_id, description: `${subjectOf(letter)}, ${letter.state}` }))
  })
}

function runsOf(session: Session): Promise<readonly Candidate[]> {
  return withInstance(session, 'look', 'completion', async ({ control, principal }) => {
    const { runs } = (await control({ name: 'run_list', input: { limit: MOST_OFFERED }, principal })) as {
      runs: readonly WorkerResult[]
    }
    return runs.map((run) => ({ value: run.run_id, description: `${subjectOf(run)}, ${run.status}` }))
  })
}
