import type { InstancePlace } from './commands.ts'

export const FINDING_LEVELS = ['ok', 'warn', 'fail'] as const
export type FindingLevel = (typeof FINDING_LEVELS)[number]

/** One thing that was looked at. What is not well says what to do about it. */
export type Finding = {
  /** What was looked at, in one or two words: `node`, `journal`. Stable, for programs. */
  readonly check: string
  /** What was found. */
  readonly message: string
} & ({ readonly level: 'ok'; readonly fix?: undefined } | { readonly level: 'warn' | 'fail'; readonly fix: string })

/** Looks at an instance without changing it and without its lock. Never rejects for what it finds. */
export type Doctor = (place: InstancePlace) => Promise<readonly Finding[]>

const LEAST_NODE = 24

/** What can be seen without an instance: the Node that runs this, and the system. */
export function environmentFindings(
  versions: { readonly node: string } = process.versions,
  platform: string = process.platform,
): readonly Finding[] {
  const node = `Node ${versions.node}`
  const system = { check: 'system', message: platform }
  return [
    Number(versions.node.split('.')[0]) >= LEAST_NODE
      ? { check: 'node', level: 'ok', message: node }
      : { check: 'node', level: 'fail', message: node, fix: `Use Node ${LEAST_NODE} or later.` },
    platform === 'linux'
      ? { ...system, level: 'ok' }
      : {
          ...system,
          level: 'warn',
          fix:
            platform === 'darwin' ? 'macOS should work; it is not tested.' : 'Use Linux, macOS, or Windows with WSL.',
        },
  ]
}

/** The findings for people, each with its fix on a line of its own. */
export function findingsText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length))
  const lines = findings.flatMap(({ check, level, message, fix }) => [
    `${level.padEnd(4)}  ${check.padEnd(width)}  ${message}`,
    ...(fix === undefined ? [] : [`${' '.repeat(8 + width)}fix: ${fix}`]),
  ])
  const count = (level: FindingLevel) => findings.filter((finding) => finding.level === level).length
  return [...lines, `${count('ok')} ok, ${count('warn')} warn, ${count('fail')} fail`].join('\n')
}
