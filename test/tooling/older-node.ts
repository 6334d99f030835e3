import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Why a test that needs an older Node cannot run here. */
export const noOlderNode = 'no Node older than 24 on the PATH (any will do)'

/** A Node on the PATH that is too old for the project; undefined if there is none. */
export function findOlderNode(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'node'))
    .filter((binary) => existsSync(binary))
    .find((binary) => {
      const { stdout } = spawnSync(binary, ['-p', 'process.versions.node'], { encoding: 'utf8' })
      return Number.parseInt(stdout ?? '', 10) < 24
    })
}
