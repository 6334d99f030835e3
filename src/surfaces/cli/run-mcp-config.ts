import { EXIT } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import { RESULT_FORMAT } from '../../core/result.ts'
import { quoted } from '../../core/suggest.ts'
import { PROFILES } from '../mcp/profiles.ts'
import { plainLine } from '../plain-text.ts'
import type { Invocation } from './commands.ts'
import { formOf, type McpServerPlace, TOKEN_VARIABLE } from './mcp-clients.ts'
import { quoteWord } from './quote.ts'
import type { Session } from './session.ts'

type Call = Extract<Invocation, { kind: 'mcp-config' }>

/** Prints the snippet for a client, and what else there is to do as notes. Nothing is changed. */
export async function runMcpConfig(session: Session, call: Call): Promise<number> {
  const { globals, out } = session
  const { file, token, expands, render } = formOf(call.client)
  const place = call.http ? await httpPlace(session, call) : await programPlace(session, call)
  if (expands && 'command' in place) refuseVariables(call.client, [place.command, ...place.args])
  const text = render(place)
  const notes = [`for ${file}`, ...(call.http ? await tokenNotes(session, token) : [])]
  if (globals.json) {
    const format = call.client === 'codex' ? 'toml' : 'json'
    out.document({ client: call.client, file, format, text, notes, metadata: { format: RESULT_FORMAT } })
    return EXIT.ok
  }
  out.say(text)
  for (const note of notes) out.note(note)
  return EXIT.ok
}

/** Absolute, with the Node that runs now: clients are started with a PATH of their own. */
async function programPlace({ app, globals, program }: Session, { profile, readOnly }: Call): Promise<McpServerPlace> {
  const [command = '', ...before] = program
  const folder = await app.config.folder(globals.place)
  const set = Object.entries(globals.place.set ?? {}).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  const shown = profile === PROFILES[0] ? [] : ['--profile', profile]
  const args = [...before, 'mcp', '--folder', folder, ...set, ...shown, ...(readOnly ? ['--read-only'] : [])]
  return { command, args }
}

/** What stands there would be another folder, or the value of somebody's variable. */
function refuseVariables(client: string, words: readonly string[]): void {
  const found = words.find((word) => word.includes('${'))
  if (found === undefined) return
  throw mhvError('MHV_CLI_USAGE', `${client} would take "\${" in ${quoted(found)} for the beginning of a variable`, {
    remedy: 'Use a folder and settings without "${", or --http.',
  })
}

async function httpPlace({ app, globals }: Session, { profile, readOnly }: Call): Promise<McpServerPlace> {
  if (profile !== PROFILES[0] || readOnly) {
    const remedy = 'Set http.mcp_profile and http.mcp_read_only for `mahavishnu up`.'
    throw mhvError('MHV_CLI_USAGE', 'over HTTP the running instance decides which tools are offered', { remedy })
  }
  const { httpSettingsOf } = await import('../http/up.ts')
  const { host, port } = httpSettingsOf(await app.config.show(globals.place))
  if (port === 0) {
    const remedy = 'Set http.port, so that clients know where it is.'
    throw mhvError('MHV_CLI_USAGE', 'http.port is 0: the address changes with every start', { remedy })
  }
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${port}/mcp` }
}

/** The token itself is never shown: what is printed here ends in files and in logs. */
async function tokenNotes({ app, globals }: Session, token: 'variable' | 'asks'): Promise<readonly string[]> {
  const { tokenFile } = await import('../http/token.ts')
  const file = tokenFile(await app.config.folder(globals.place))
  if (token === 'asks') return [`it asks for the token, which is in ${plainLine(file)}`]
  return [`the client takes the token from its environment: export ${TOKEN_VARIABLE}="$(cat ${quoteWord(file)})"`]
}
