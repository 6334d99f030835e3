import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { followedPages } from '../../scripts/docs/pages.ts'
import { inRoot } from '../../scripts/lib/paths.ts'
import { ERROR_TABLE } from '../../src/core/error-table.ts'
import { checkPage } from '../helpers/doc-page.ts'
import { docPlace } from '../helpers/doc-place.ts'
import { makeUser, type SystemUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const PAGES = followedPages()

/** Pages that begin with nothing: no instance folder, no known host. */
const FROM_NOTHING = ['docs/guides/first-target.md']

/** Variables of the scripts. */
const NO_CODES = ['MHV_SETUP']

/** Whether a link's file is there, and has the heading that is named. */
function leadsSomewhere(page: string, path: string, anchor: string | undefined): boolean {
  const file = path === '' ? inRoot(page) : resolve(dirname(inRoot(page)), path)
  if (!existsSync(file)) return false
  if (anchor === undefined) return true
  const headings = [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, words = '']) => words)
  return headings.some(
    (words) =>
      words
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replaceAll(' ', '-') === anchor,
  )
}

// What is not built is a failure of its own in a full run; a filtered one may go without.
const unbuilt = existsSync(inRoot('dist/bin.js')) ? undefined : 'needs dist: npm run build'

suite('the blocks of the documentation', { skip: unbuilt ?? sshdMissing() ?? false, concurrency: 2 }, () => {
  let sshd: Sshd
  let guest: SystemUser
  before(async () => {
    // The guides show what a wrong password is answered with.
    const server = await startSshd({ config: ['PasswordAuthentication yes'] })
    // What a page says is really done: by a user who can do no harm, for the host is this machine.
    guest = await makeUser()
    sshd = { ...server, user: guest.name }
  })
  after(async () => {
    await sshd.stop()
    await guest.remove()
  })

  async function check(text: string, empty = false) {
    const place = await docPlace(sshd, guest.home, empty)
    try {
      return await checkPage(text, place)
    } finally {
      await place.remove()
    }
  }

  for (const page of PAGES) {
    test(`${page} works as it is written`, async (t) => {
      const { problems, notRun, checked } = await check(readFileSync(inRoot(page), 'utf8'), FROM_NOTHING.includes(page))
      for (const reason of notRun) t.diagnostic(`${page}, not run, ${reason}`)
      t.diagnostic(`${page}: ${checked} blocks checked, ${notRun.length} not run`)
      assert.deepEqual(problems, [])
    })
  }

  const planted: Readonly<Record<string, readonly [block: string, problem: RegExp]>> = {
    'a command that does not exist': ['```sh\nmahavishnu runz list\n```', /ended with 201 instead of 0/],
    'a wrong exit code': ['```sh exit=202\nmahavishnu config show\n```', /ended with 0 instead of 202/],
    'another output': ['```sh\necho one\n```\n```text output\ntwo\n```', /another output[\s\S]*one/],
    'a setting that does not exist': ['```yaml settings\nssh: { max_conections: 1 }\n```', /max_conections/],
    'a target without a host': ['```yaml inventory\nversion: 1\ntargets: { a: { ssh: {} } }\n```', /host/],
    'a rule without a decision': ['```yaml policy-rules\n  - id: a\n```', /decision/],
    'YAML of no kind': ['```yaml\na: 1\n```', /says whether it is settings/],
    'broken JSON': ['```json\n{ "a": }\n```', /JSON/],
    'a client with a wrong command': [
      '```json mcp-config\n{"mcpServers":{"a":{"command":"mahavishnu","args":["nothing"]}}}\n```',
      /line 1: /,
    ],
    'a wrong type': ['```ts\nconst a: number = "one"\nexport { a }\n```', /not assignable to type 'number'/],
    'an unmarked block': ['```\nwords\n```', /nobody can tell/],
    'an indented block': ['Words:\n\n    mahavishnu up\n', /an indented block/],
    'a block without an end': ['```sh\necho\n', /has no end/],
    'an empty reason': ['```sh no-run=""\nfalse\n```', /needs a reason/],
  }
  test('the pages name only error codes that exist, and only files that are there', () => {
    const problems = PAGES.flatMap((page) => {
      const text = readFileSync(inRoot(page), 'utf8')
      const codes = [...text.matchAll(/\bMHV_[A-Z_]+[A-Z]\b(?!_)/g)].map(([code]) => code)
      const links = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)/g)]
      return [
        ...codes.filter((code) => !NO_CODES.includes(code) && !Object.hasOwn(ERROR_TABLE, code)),
        ...links.filter(([, path = '', anchor]) => !leadsSomewhere(page, path, anchor)).map(([link]) => link),
      ].map((what) => `${page}: ${what}`)
    })
    assert.deepEqual(problems, [])
  })

  for (const [what, [block, problem]] of Object.entries(planted)) {
    test(`notices ${what}`, async () => {
      const { problems } = await check(block)
      assert.equal(problems.length, 1, problems.join('\n'))
      assert.match(problems[0] ?? '', problem)
    })
  }
})
