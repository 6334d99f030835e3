/** What each npm script is for; `docs/reference/scripts.md` is made from it, and a test compares it with package.json. */
export interface ScriptEntry {
  readonly name: string
  /** One line, for somebody who has just cloned the repository. */
  readonly summary: string
  /** Arguments worth knowing, each with what it does. */
  readonly options?: Readonly<Record<string, string>>
}

const json = { '`--json`': 'one JSON document on the last line of stdout', '`--json=FILE`': 'the document in a file' }

export const scriptTable: readonly ScriptEntry[] = [
  { name: 'quickstart', summary: 'Sets up a first instance on this machine and runs an operation on it.' },
  {
    name: 'test',
    summary:
      'Lint, every test, coverage of `src`, and the guarantees. On Debian as root it installs missing test servers.',
    options: {
      '`-- PART…`': 'only test files whose path contains one of these (without lint, coverage and guarantees)',
      '`-- --no-lint`': 'without lint',
      '`-- --concurrency=N`': 'N files at a time',
      '`MHV_SETUP=skip`': 'installs no servers; tests that miss one are skipped and say so',
      ...json,
    },
  },
  {
    name: 'lint',
    summary: 'Style, types, layers, unused code, the house rules, and stale derived files.',
    options: {
      '`-- STEP…`': 'only these steps: `style types layers unused sources derived`',
      '`-- --fix`': 'formats and repairs what biome can',
      ...json,
    },
  },
  {
    name: 'gen',
    summary: 'Writes every derived file that is checked in.',
    options: { '`-- --check`': 'writes nothing, lists stale files, exit 1 if there are any', ...json },
  },
  {
    name: 'transcript',
    summary: 'Runs the quickstart and writes what it printed into README.md, with example ids and times.',
    options: { '`-- --check`': 'compares instead, exit 1 when they differ', ...json },
  },
  {
    name: 'surfaces',
    summary:
      'Makes one run on an SSH server, compares what MCP, CLI and HTTP show of it, and writes it into its guide.',
    options: { '`-- --check`': 'compares the guide instead, exit 1 when it differs', ...json },
  },
  {
    name: 'guarantees',
    summary: 'Lists every promise of `docs/guarantees.md` with its tests and their last result.',
    options: json,
  },
  {
    name: 'bench',
    summary:
      'Measures speed and memory, beside a peer where there is one. `docs/benchmarks.md` says what the rows mean.',
    options: {
      '`-- AREA…`': 'only these areas: `ssh sftp journal mcp http start admission isolation batch terminal mqtt`',
      '`-- --rounds N`': 'N rounds: odd, at least 7 (the default)',
      '`-- --quick`': 'one short round that judges no goal; with `--rounds`, any number of them',
      '`-- --profile FOLDER`': 'CPU profiles of our side for the Chrome tools; judges no goal',
      ...json,
    },
  },
  {
    name: 'soak',
    summary: 'Tests in sizes that would take too long for `npm test`: a gigabyte of output, hundreds of kills.',
    options: { '`-- PART…`': 'only soak files whose path contains one of these', ...json },
  },
  {
    name: 'chaos',
    summary:
      'Kills, stops, robs and starves an instance under load, then holds its journal against what was really done. ' +
      'Exit 0 only when nothing was lost, done twice or left without an end.',
    options: {
      '`-- --seconds N`': 'how long the faults go on (default 120)',
      '`-- --seed N`': 'draws the same faults and the same load again',
      '`-- --isolation process`': 'workers in processes of their own, which are killed and stopped as well',
      '`-- --break journal|retry|lease`': 'an instance without that mechanism, to see that the check fails',
      ...json,
    },
  },
  { name: 'build', summary: 'Emits `dist` from `src` if anything has changed.' },
  { name: 'prepack', summary: 'Run by npm before it packs: `build`.' },
]
