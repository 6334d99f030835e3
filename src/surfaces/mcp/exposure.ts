import { mhvError } from '../../core/errors.ts'
import type { Effect } from '../../core/operation.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import type { ControlCall } from '../../runtime/control.ts'
import { type ExtraTool, extraTool } from './extra-tools.ts'
import { ownTool } from './own-tools.ts'
import type { Profile } from './profiles.ts'
import { type Tool, toolsOf } from './tools.ts'
import { upstreamTools } from './upstream.ts'
import { upstreamTerminalTools } from './upstream-terminal.ts'

/**
 * Which tools a client sees. Models choose worse the more tools there are, and clients cap their number (40 in some),
 * so the default profile is bounded; what has no tool of its own is found and called through two that stand for all.
 */

/** Most direct tools of the profiles `default` and `upstream`. */
export const MAX_DIRECT_TOOLS = 25

export interface ExposureOptions {
  /**
   * `default`: at most 25 direct tools. `full`: one for every operation. `upstream`: `extraTools` first, under the
   * original project's names, which win over ours; then as `default`. Default: `default`.
   */
  readonly profile?: Profile | undefined
  /** Only what can change nothing. Default: false. */
  readonly readOnly?: boolean | undefined
  /** Tools of the profile `upstream`. Default: those of the original project (`upstream.ts`, `upstream-terminal.ts`). */
  readonly extraTools?: readonly ExtraTool[] | undefined
}

export interface Exposure {
  readonly profile: Profile
  readonly readOnly: boolean
  readonly tools: readonly Tool[]
  /** What `operations_search` finds and `operation_call` calls. */
  readonly operations: readonly RegisteredOperation[]
  /** The control calls among that: those without a tool of their own. */
  readonly controls: readonly ControlCall[]
}

export function exposureOf(registry: Registry, options: ExposureOptions = {}): Exposure {
  const { profile = 'default', readOnly = false } = options
  const shown = (tool: Tool) => !readOnly || tool.annotations.readOnlyHint
  const extra =
    profile === 'upstream' ? (options.extraTools ?? originalTools(registry)).map(extraTool).filter(shown) : []
  const taken = new Set(extra.map(({ name }) => name))
  const ours = toolsOf(registry).filter((tool) => shown(tool) && !taken.has(tool.name))
  const operations = registry.operations.filter(({ spec }) => !readOnly || spec.effect === 'read')
  const more = ownTool('read_more', operations)
  const derived = ours.filter(({ call }) => call.kind === 'operation')
  const controls = ours.filter(({ call }) => call.kind === 'control')
  const all = [...extra, ...derived, ...controls, more]
  if (profile === 'full' || all.length <= MAX_DIRECT_TOOLS) {
    return { profile, readOnly, tools: unique(all), operations, controls: [] }
  }
  const onDemand = controls.flatMap(({ call }) =>
    call.kind === 'control' && call.control.onDemand ? [call.control] : [],
  )
  const direct = controls.filter(({ name }) => onDemand.every((control) => control.name !== name))
  const finders = [ownTool('operations_search', operations), ownTool('operation_call', operations, onDemand)]
  const room = MAX_DIRECT_TOOLS - extra.length - direct.length - 1 - finders.length
  const tools = [...extra, ...oneOfEachInTurn(derived, room), ...direct, more, ...finders]
  return { profile, readOnly, tools: unique(tools), operations, controls: onDemand }
}

/** The original project's tools; those for terminals only where the worker is. */
function originalTools({ workers }: Registry): readonly ExtraTool[] {
  const hasTerminals = workers.some(({ name }) => name === 'terminal')
  return [...upstreamTools, ...(hasTerminals ? upstreamTerminalTools : [])]
}

/** The first of every worker, then the second of every one, …: no worker is left out for standing late in the list. */
function oneOfEachInTurn(tools: readonly Tool[], room: number): readonly Tool[] {
  const ranks = new Map<string, number>()
  const ranked = tools.map((tool, index) => {
    const worker = tool.call.kind === 'operation' ? tool.call.operation.worker.name : ''
    const rank = ranks.get(worker) ?? 0
    ranks.set(worker, rank + 1)
    return { tool, index, rank }
  })
  const chosen = ranked.sort((a, b) => a.rank - b.rank || a.index - b.index).slice(0, Math.max(0, room))
  return chosen.sort((a, b) => a.index - b.index).map(({ tool }) => tool)
}

/** Two tools of one name are a defect, found at start. */
function unique(tools: readonly Tool[]): readonly Tool[] {
  const twin = tools.find(({ name }, index) => tools.findIndex((each) => each.name === name) !== index)
  if (twin !== undefined) throw new Error(`two MCP tools would be called "${twin.name}"`)
  return tools
}

/**
 * The second lock: a tool that is hidden is refused when it is called all the same.
 * Throws MHV_POLICY_DENIED.
 */
export function refuseUnlessShown(exposure: Pick<Exposure, 'readOnly'>, what: string, effect: Effect): void {
  if (!exposure.readOnly || effect === 'read') return
  throw mhvError('MHV_POLICY_DENIED', `this server only reads, and ${what} may change things`, {
    remedy: 'Use a server without --read-only (over HTTP: without http.mcp_read_only), if it should be allowed.',
  })
}
