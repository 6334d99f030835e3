import type { Row } from './row.ts'

function withSpread(value: number | null, spread: { min: number; max: number } | null): string {
  return value === null || spread === null ? '' : `${value} (${spread.min}–${spread.max})`
}

function verdict({ goal, met, met_in_rounds, rounds }: Row): string {
  if (goal === null) return 'told'
  if (met === null) return 'not judged'
  return `${met ? 'met' : 'MISSED'} ${met_in_rounds}/${rounds}`
}

function cellsOf(row: Row): readonly string[] {
  const { name, unit, ours, peer, peer_name, ratio, difference, goal, spread } = row
  const wantsDifference = goal?.startsWith('difference') ?? false
  const compared = wantsDifference ? `${difference} ${unit}` : ratio === null ? '' : `${ratio}×`
  return [
    name,
    unit,
    withSpread(ours, spread.ours),
    withSpread(peer, spread.peer),
    compared,
    goal ?? '',
    verdict(row),
    peer_name ?? '',
  ]
}

const HEAD = ['', 'unit', 'ours (min–max)', 'peer (min–max)', 'compared', 'goal', 'verdict', 'peer'] as const

/** The rows for people: medians, with the least and the greatest of the rounds behind them. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [HEAD, ...rows.map(cellsOf)]
  const widths = HEAD.map((_head, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
