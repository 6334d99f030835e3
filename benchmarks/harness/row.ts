import { rounded, type Spread, spreadOf } from './stats.ts'

/** What a row is judged by. It is never loosened to fit: a missed one is reported as missed. */
export interface Goal {
  /** `ratio` is ours divided by the peer's, `difference` ours minus the peer's. */
  readonly of: 'ours' | 'ratio' | 'difference'
  readonly is: '>=' | '<=' | '<'
  readonly limit: number
}

/** What our side is compared with. */
export interface Peer {
  readonly name: string
  readonly version: string
  /** One value per round, of the same rounds as ours. */
  readonly values: readonly number[]
}

export interface RowSpec {
  /** `area.what.at`; stays the same over versions. */
  readonly name: string
  /** What the number is, in a sentence. */
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** One value per round. */
  readonly ours: readonly number[]
  readonly peer?: Peer
  readonly goal?: Goal
  /** What has to be known to get the same numbers again. */
  readonly settings: Readonly<Record<string, unknown>>
}

/** A row as it is written. Numbers are medians over the rounds. */
export interface Row {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  readonly ours: number
  readonly peer: number | null
  readonly peer_name: string | null
  readonly peer_version: string | null
  /** Median of ours divided by median of the peer's. */
  readonly ratio: number | null
  /** Median of ours minus median of the peer's. */
  readonly difference: number | null
  /** `ratio >= 0.8`; null for what is only told. */
  readonly goal: string | null
  /** Null without a goal and in a quick run. */
  readonly met: boolean | null
  /** In how many of the rounds the goal was met by that round's own values: how safe the verdict is. */
  readonly met_in_rounds: number | null
  readonly rounds: number
  readonly spread: { readonly ours: Spread; readonly peer: Spread | null; readonly ratio: Spread | null }
  readonly settings: Readonly<Record<string, unknown>>
}

export function goalText({ of, is, limit }: Goal, unit: string): string {
  return `${of} ${is} ${limit}${of === 'ratio' ? '' : ` ${unit}`}`
}

/** Whether a pair of values meets a goal. A side that gave no number meets none. */
export function meets({ of, is, limit }: Goal, ours: number, peer: number): boolean {
  const value = of === 'ours' ? ours : of === 'ratio' ? ours / peer : ours - peer
  if (is === '>=') return value >= limit
  return is === '<' ? value < limit : value <= limit
}

function roundedSpread(values: readonly number[]): Spread {
  const spread = spreadOf(values)
  return Object.fromEntries(Object.entries(spread).map(([name, value]) => [name, rounded(value)])) as unknown as Spread
}

/**
 * Makes the row of what the rounds gave. The verdict is that of the medians, before they are rounded for print.
 *
 * @param quick a quick run tells numbers but judges none
 */
export function toRow(spec: RowSpec, { quick }: { readonly quick: boolean }): Row {
  const { name, title, unit, better, ours, peer, goal, settings } = spec
  if (ours.length === 0 || (peer !== undefined && peer.values.length !== ours.length)) {
    throw new Error(`${name}: ${ours.length} values of ours and ${peer?.values.length} of the peer`)
  }
  if (goal !== undefined && goal.of !== 'ours' && peer === undefined) throw new Error(`${name}: a goal without a peer`)
  const middle = spreadOf(ours).median
  const peerMiddle = peer === undefined ? Number.NaN : spreadOf(peer.values).median
  const ratios = peer?.values.map((value, round) => (ours[round] as number) / value)
  const holds = goal && ours.filter((value, round) => meets(goal, value, peer?.values[round] ?? Number.NaN)).length
  return {
    name,
    title,
    unit,
    better,
    ours: rounded(middle),
    peer: peer ? rounded(peerMiddle) : null,
    peer_name: peer?.name ?? null,
    peer_version: peer?.version ?? null,
    ratio: peer ? rounded(middle / peerMiddle) : null,
    difference: peer ? rounded(middle - peerMiddle) : null,
    goal: goal ? goalText(goal, unit) : null,
    met: goal && !quick ? meets(goal, middle, peerMiddle) : null,
    met_in_rounds: quick ? null : (holds ?? null),
    rounds: ours.length,
    spread: {
      ours: roundedSpread(ours),
      peer: peer ? roundedSpread(peer.values) : null,
      ratio: ratios ? roundedSpread(ratios) : null,
    },
    settings,
  }
}
