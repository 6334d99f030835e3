import { globSync } from 'node:fs'
import { root } from '../lib/paths.ts'

/** Folders of whole programs, whose files take longest: they start first, and unit tests fill the gaps at the end. */
const LONG = ['test/chaos/', 'test/e2e/', 'test/contract/', 'test/']

/**
 * Every test file, from the checkout, in the order in which they are to start. Folders of fixtures hold files that
 * only look like tests.
 */
export function allTestFiles(): readonly string[] {
  const exclude = ['test/fixtures/**']
  return globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: root, exclude })
    .map((file) => file.replaceAll('\\', '/'))
    .sort(byLength)
}

/** Compares two files by the folders that take longest, then by name. */
function byLength(one: string, other: string): number {
  const rank = (file: string) => [...LONG, ''].findIndex((folder) => file.startsWith(folder))
  return rank(one) - rank(other) || (one < other ? -1 : 1)
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
