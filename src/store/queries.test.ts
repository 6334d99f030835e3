import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { runsQuery, type Sql, UNFINISHED } from './queries.ts'
import { migrate } from './schema.ts'
import type { RunQuery } from './store.ts'

/** How SQLite finds the page's runs: the steps of its plan that are about them. */
function plan({ text, values }: Sql): string {
  const db = new DatabaseSync(':memory:')
  migrate(db, 'journal.db')
  const steps = db.prepare(`EXPLAIN QUERY PLAN ${text}`).all(...values)
  db.close()
  return steps.map(({ detail }) => String(detail)).join('\n')
}

/** The page is found by this step alone, and only then are its rows read, by their numbers. */
function assertPlan(query: Partial<RunQuery>, step: RegExp, sorted = false): void {
  const text = plan(runsQuery({ limit: 10, ...query }))
  const what = `${JSON.stringify(query)}\n${text}`
  assert.match(text, /SEARCH runs USING INTEGER PRIMARY KEY \(rowid=\?\)/, what)
  assert.match(text, step, what)
  // One sort is that of the page itself; another would be of all that the filter finds.
  assert.equal(text.match(/USE TEMP B-TREE/g)?.length ?? 0, sorted ? 2 : 1, what)
}

test('each filter is served by its own index, in the order of the run ids', () => {
  for (const before of [undefined, 'X']) {
    const and = before === undefined ? '' : ' AND run_id<\\?'
    const by = (index: string) =>
      new RegExp(`SEARCH runs USING (COVERING )?INDEX runs_by_${index} \\(${index}=\\?${and}\\)`)
    assertPlan({ worker: 'ssh', before }, by('worker'))
    assertPlan({ operation: 'ssh.execute', before }, by('operation'))
    assertPlan({ target: 'web-1', before }, by('target'))
    assertPlan({ principal: 'user:1', before }, by('principal'))
    assertPlan({ status: ['failed'], before }, by('status'))
  }
})

test('of several filters the most selective leads', () => {
  const all = {
    worker: 'ssh',
    operation: 'ssh.execute',
    principal: 'p',
    status: ['failed'],
    since: 1,
    until: 2,
  } as const
  assertPlan({ ...all, target: 'web-1' }, /INDEX runs_by_target \(target=\? AND run_id>\?\)/)
  assertPlan(all, /INDEX runs_by_operation \(operation=\? AND run_id>\?\)/)
  assertPlan({ status: ['failed'], since: 1 }, /INDEX runs_by_status \(status=\? AND run_id>\?\)/)
})

test('without a filter, or looking for completed runs, the runs are walked from the newest', () => {
  const walk = /SCAN runs USING (COVERING )?INDEX sqlite_autoindex_runs_1/
  assertPlan({}, walk)
  assertPlan({ status: ['completed'] }, walk)
  assertPlan({ status: ['completed', 'failed'] }, walk)
  assertPlan({ status: [] }, walk)
})

test('a time ends the walk from the newest run, since ids rise with it', () => {
  const walk = /SEARCH runs USING INDEX sqlite_autoindex_runs_1 \(run_id>\?/
  assertPlan({ since: 5 }, walk)
  assertPlan({ since: 5, until: 9, before: 'X' }, walk)
  assertPlan({ since: 5, target: 'web-1' }, /INDEX runs_by_target \(target=\? AND run_id>\?\)/)
})

test('several statuses are found in their index and sorted', () => {
  assertPlan({ status: ['failed', 'timeout'] }, /INDEX runs_by_status \(status=\?\)/, true)
})

test('the runs that have not ended are found without looking at the others', () => {
  assert.match(plan({ text: UNFINISHED, values: [] }), /SEARCH runs USING INDEX runs_by_status \(status=\?\)/)
})
