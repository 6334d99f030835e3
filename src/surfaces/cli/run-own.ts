import { explanationText } from '../../config/explain.ts'
import { ERROR_TABLE, EXIT } from '../../core/error-table.ts'
import { RESULT_FORMAT } from '../../core/result.ts'
import { plainLine } from '../plain-text.ts'
import type { ConfigReport, Invocation } from './commands.ts'
import { environmentFindings, findingsText } from './doctor.ts'
import { errorText } from './failure.ts'
import type { Session } from './session.ts'
import { tableText } from './table.ts'

const metadata = { format: RESULT_FORMAT }

/** Looks at the installation. Exit code 0 unless something fails. */
export async function runDoctor({ app, globals, out }: Session): Promise<number> {
  const findings = [...environmentFindings(), ...(await app.doctor(globals.place))]
  const ok = findings.every(({ level }) => level !== 'fail')
  const listed = findings.map(({ check, level, message, fix = null }) => ({ check, level, message, fix }))
  if (globals.json) out.document({ ok, findings: listed, metadata })
  else out.say(findingsText(findings))
  return ok ? EXIT.ok : EXIT.configuration
}

export async function runConfig(session: Session, call: Extract<Invocation, { kind: 'config' }>): Promise<number> {
  const { app, globals, out } = session
  const { place, json } = globals
  switch (call.verb) {
    case 'validate':
      return showReport(session, await app.config.validate(place))
    case 'explain': {
      const setting = await app.config.explain(place, call.key)
      if (json) out.document({ setting, metadata })
      else out.say(explanationText(setting))
      return EXIT.ok
    }
    case 'show': {
      const settings = await app.config.show(place)
      if (json) out.document({ settings, metadata })
      else out.say(settingsText(settings, out.columns))
      return EXIT.ok
    }
    case 'schema': {
      const schema = await app.config.schema()
      if (json) out.document({ schema, metadata })
      else out.say(JSON.stringify(schema, null, 2))
      return EXIT.ok
    }
  }
}

function settingsText(
  settings: readonly { key: string; value: unknown; source: string }[],
  width: number | null,
): string {
  const columns = [
    { title: 'SETTING', text: (row: { key: string }) => row.key },
    { title: 'VALUE', text: (row: { value: unknown }) => JSON.stringify(row.value), mayCut: true },
    { title: 'FROM', text: (row: { source: string }) => row.source, mayCut: true },
  ]
  return tableText(columns, settings, width)
}

function showReport({ globals, out }: Session, { files, problems }: ConfigReport): number {
  const [first] = problems
  if (globals.json) out.document({ valid: first === undefined, files, problems, metadata })
  else {
    out.say(
      files
        .map(({ what, file, present }) => `${what.padEnd(10)} ${plainLine(file)}${present ? '' : ' (not there)'}`)
        .join('\n'),
    )
    if (first === undefined) out.say('valid')
  }
  for (const problem of problems) out.complain(errorText(problem))
  return first === undefined ? EXIT.ok : ERROR_TABLE[first.code].exit
}

/** Serves MCP until the client is gone or the process is told to end. */
export async function runMcp(
  { app, globals, io, out, version, interrupt }: Session,
  { profile, readOnly }: Extract<Invocation, { kind: 'mcp' }>,
): Promise<number> {
  const { serveMcp } = await import('../mcp/stdio.ts')
  await serveMcp({
    registry: app.registry,
    instances: app.instances,
    options: { ...globals.place, doing: 'mcp' },
    version,
    profile,
    readOnly,
    stdin: io.stdin,
    stdout: io.stdout as NodeJS.WriteStream,
    onError: (error) => out.note(`mcp: ${plainLine(error.message)}`),
    onDefect: (error) => out.complain(error.stack ?? error.message),
    stop: interrupt,
  })
  return EXIT.ok
}

/** Serves the instance over HTTP and its socket until the process is told to end. */
export async function runUp({ app, globals, out, version, interrupt }: Session): Promise<number> {
  const { httpSettingsOf, serveUp } = await import('../http/up.ts')
  await serveUp({
    instances: app.instances,
    options: { ...globals.place, doing: 'up' },
    settings: httpSettingsOf(await app.config.show(globals.place)),
    version,
    onListening({ url, socket, tokenFile, exposed }) {
      if (exposed) out.complain('warning: other machines can reach this address; nothing is encrypted on the way')
      out.note(`listening on ${url} and ${plainLine(socket)}`)
      out.note(`the token is in ${plainLine(tokenFile)}`)
    },
    onStopping: () => out.note('stopping: what runs is ended and journaled; once more leaves without waiting'),
    stop: interrupt,
  })
  return EXIT.ok
}
