import { ASSESSMENT_ROWS } from '../../src/core/assessment-codes.ts'
import { ERROR_TABLE, EXIT } from '../../src/core/error-table.ts'
import type { Generator } from './generator.ts'

const cell = (text: string) => text.replaceAll('|', '\\|')

/** Every code with its row of the table. */
export function renderErrorsPage(): string {
  const rows = Object.entries(ERROR_TABLE).map(([code, { category, http, exit, phase, retryable, summary, remedy }]) =>
    [
      '',
      `\`${code}\``,
      cell(summary),
      category,
      phase === 'before-effect' ? 'none' : phase === 'after-effect' ? 'applied' : 'unknown',
      retryable ? 'yes' : 'no',
      http,
      exit,
      cell(remedy),
      '',
    ]
      .join(' | ')
      .trim(),
  )
  return [
    '<!-- Made by npm run gen from src/core/error-table.ts and assessment-codes.ts. -->',
    '# Errors',
    '',
    'Every code that Mahavishnu ends a call with. A code never changes its meaning.',
    '',
    '- **effect**: what the error says about the target: `none` (nothing was changed), `applied`, or `unknown`. A run of an',
    '  operation that only reads always has `none`.',
    '- **again**: whether the same call may succeed later without anybody changing anything.',
    '- **HTTP** and **exit** are the status over HTTP and the exit code of the command line.',
    '',
    '| code | meaning | category | effect | again | HTTP | exit | what to do |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    '## Codes of the original assessment',
    '',
    'What became of them. The strategy is what the assessment wants done; [resilience](../guides/resilience.md) has the',
    'strategies.',
    '',
    '| code there | strategy | here |',
    '| --- | --- | --- |',
    ...assessmentRows(),
    '',
  ].join('\n')
}

function assessmentRows(): readonly string[] {
  return ASSESSMENT_ROWS.map(([code, { strategy, codes, later, note }]) => {
    const ours = codes.map((each) => `\`${each}\``).join(', ')
    const where = later === undefined ? ours : `known, not available yet: the worker \`${later}\` will have it`
    return `| \`${code}\` | ${strategy} | ${cell([where, note].filter((text) => text).join('; '))} |`
  })
}

/** Exit codes of the command line with what they mean, in the order of the table. */
export function exitRows(): readonly string[] {
  const meanings: Readonly<Record<keyof typeof EXIT, string>> = {
    ok: 'done; `0` to `125` are the exit code of the command that was run',
    remote_above_125: 'the command ended with a code above 125, or by a signal; standard error says which',
    internal: 'something failed that should not: a defect',
    input: 'the command line or the input is wrong',
    permission: 'the policy, or the target, did not allow it',
    network: 'the target was not reached',
    resource: 'no room: slots, disk, processes',
    transient: 'failed for now; the same call may succeed later',
    permanent: 'failed for good',
    timeout: 'not done at its deadline; for `runs wait` and `runs cancel`, not ended within the wait',
    cancelled: 'cancelled',
    unknown_effect: 'the connection or the process was lost while it acted: whether it was applied is unknown',
    configuration: 'settings, inventory, policy, secrets or the instance folder cannot be used',
    locked: 'another process holds the instance folder',
  }
  return Object.entries(EXIT).map(([name, code]) => `| ${code} | ${meanings[name as keyof typeof EXIT]} |`)
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/errors.md', render: renderErrorsPage }]
