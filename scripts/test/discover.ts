import { globSync } from 'node:fs'
import { root } from '../lib/paths.ts'

/** Every test file, from the checkout, sorted. Folders of fixtures hold files that only look like tests. */
export function allTestFiles(): readonly string[] {
  const exclude = ['test/fixtures/**']
  return globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: root, exclude })
    .map((file) => file.replaceAll('\\', '/'))
    .sort()
}

/** The files whose path contains one of the filters; all of them without a filter. */
export function selectFiles(files: readonly string[], filters: readonly string[]): readonly string[] {
  return filters.length === 0 ? files : files.filter((file) => filters.some((filter) => file.includes(filter)))
}
