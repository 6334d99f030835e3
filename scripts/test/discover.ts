import { globSync } from 'node:fs'
import { root } from '../lib/paths.ts'

/**
 * Folders of whole programs, whose files take longest: they start before unit tests, which fill the gaps at the end.
 * Some of them keep the machine busy (processes are started again and again), others wait (for servers and deadlines):
 * they are dealt out like cards, so that there is always something of each.
 */
const LONG = ['test/chaos/', 'test/e2e/', 'test/contract/']

/**
 * Every test file, from the checkout, in the order in which they are to start. Folders of fixtures hold files that
 * only look like tests.
 */
export function allTestFiles(): readonly string[] {
  const exclude = ['test/fixtures/**']
  const files = globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: root, exclude })
    .map((file) => file.replaceAll('\\', '/'))
    .sort()
  const long = LONG.map((folder) => files.filter((file) => file.startsWith(folder)))
  const others = files.filter((file) => !LONG.some((folder) => file.startsWith(folder)))
  // The longest ones of the rest are those of the workers.
  const rank = (file: string) => ['test/', 'src/workers/', ''].findIndex((start) => file.startsWith(start))
  return [...dealt(long), ...others.toSorted((one, other) => rank(one) - rank(other))]
}

/** One list of all, with the files of each evenly over it. */
function dealt(lists: readonly (readonly string[])[]): readonly string[] {
  const placed = lists.flatMap((list) => list.map((file, index) => ({ file, place: (index + 0.5) / list.length })))
  return placed.sort((one, other) => one.place - other.place).map(({ file }) => file)
}

/** Files that compare times of two things that happen at once: they run at the end, one at a time and alone. */
const ALONE = ['test/contract/terminal-neighbours.test.ts']

/** Whether nothing else may run beside this file. */
export function runsAlone(file: string): boolean {
  return ALONE.includes(file)
}

/** The files whose path contains one of the filters; all of them without a filter. */
export function selectFiles(files: readonly string[], filters: readonly string[]): readonly string[] {
  return filters.length === 0 ? files : files.filter((file) => filters.some((filter) => file.includes(filter)))
}
