import { type ConfigFile, readConfigFiles } from './read.ts'
import { isUsed, matchesAll } from './resolve.ts'

/** Something in ssh_config that has no effect here, or keeps a host from being reached. */
export interface ConfigFinding {
  /** `file:line`, or the file. */
  readonly place: string
  readonly message: string
}

export interface ConfigLook {
  /** Files that were read, included ones too. */
  readonly files: number
  readonly findings: readonly ConfigFinding[]
}

/** Looks through ssh_config for what is not understood. Never rejects for what it finds. */
export async function lookAtConfig(paths: readonly string[]): Promise<ConfigLook> {
  const findings: ConfigFinding[] = []
  let files = 0

  function look(file: ConfigFile): void {
    if (file.problem !== undefined) {
      findings.push({ place: file.path, message: file.problem })
      return
    }
    files += 1
    for (const line of file.lines) {
      const message = line.problem === undefined ? unusedWhy(line) : `${line.shown} ${line.problem}`
      if (message !== undefined) findings.push({ place: `${file.path}:${line.line}`, message })
      for (const included of line.included ?? []) look(included)
    }
  }

  for (const file of await readConfigFiles(paths)) look(file)
  return { files, findings }
}

function unusedWhy(line: ConfigFile['lines'][number]): string | undefined {
  const { keyword, shown, words } = line
  if (keyword === 'host' || keyword === 'include') return undefined
  if (keyword === 'match') {
    return matchesAll(line)
      ? undefined
      : `Match ${words[0] ?? ''}: conditions are not looked at, the block is passed over`
  }
  if (keyword === 'proxycommand') {
    return words[0]?.toLowerCase() === 'none'
      ? undefined
      : 'ProxyCommand is never run: such hosts need proxy_jump in the inventory'
  }
  return isUsed(keyword) ? undefined : `${shown} has no effect here`
}
