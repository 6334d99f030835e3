import { randomUUID } from 'node:crypto'
import type { OutputSink } from '../../../core/context.ts'
import { mhvError, toMhvError } from '../../../core/errors.ts'
import { type LocalRoots, openParent } from '../../../core/local-files.ts'
import { localRoots } from '../local-roots.ts'
import { type CommandInput, runCommand, type SshContext } from '../run-command.ts'
import type { ScriptData, ScriptInput } from './script.ts'
import { byFile, byStdin, MAX_SCRIPT, notPlaced, removal } from './script-command.ts'

/** Milliseconds for removing what a script left that was ended by force. */
const REMOVE_MS = 5_000

/** Runs a script. Throws what `script` declares. */
export async function runScriptFile(ctx: SshContext, input: ScriptInput): Promise<ScriptData> {
  const { env, cwd, sudo, interpreter, args, stdin, via } = input
  const script = await bytesOf(ctx, input)
  const how = {
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(sudo === undefined ? {} : { sudo }),
  }
  if (via === 'stdin') {
    if (stdin !== undefined) {
      throw mhvError(
        'MHV_INPUT_INVALID',
        'stdin: a script that comes by standard input has none of its own; use via: file',
      )
    }
    return runCommand(ctx, { ...how, command: byStdin({ interpreter, args }), stdin: script })
  }
  const name = `mahavishnu-${randomUUID()}`
  const command = byFile({ interpreter, args, name, bytes: script.length, stdin: stdin !== undefined })
  const all = stdin === undefined ? script : Buffer.concat([script, Buffer.from(stdin)])
  try {
    const data = await runCommand(ctx, { ...how, command, stdin: all })
    if (data.exit_code === 126 && data.stderr.endsWith(`${notPlaced(name)}\n`)) {
      throw mhvError(
        'MHV_SSH_SCRIPT_NOT_PLACED',
        `${ctx.target.address.host}: the script could not be written to its temporary folder`,
      )
    }
    return data
  } catch (error) {
    // While the connection is lost it may still run, and its shell removes the file when it ends.
    if (toMhvError(error).details?.remote !== undefined) await removeLeft(ctx, name, how)
    throw error
  }
}

/** The script: as it was given, or from a file within the local roots. Throws MHV_INPUT_INVALID and MHV_LOCAL_…. */
async function bytesOf({ settings, connection }: SshContext, { script, path }: ScriptInput): Promise<Buffer> {
  if ((script === undefined) === (path === undefined)) {
    throw mhvError('MHV_INPUT_INVALID', 'either script or path has to be given')
  }
  return path === undefined ? Buffer.from(script ?? '') : readScript(path, localRoots(settings, connection.folder))
}

/** The whole file: a part of a script must never be run. Throws MHV_INPUT_INVALID and MHV_LOCAL_…. */
export async function readScript(path: string, roots: LocalRoots): Promise<Buffer> {
  const { folder, name } = await openParent(path, roots)
  try {
    const file = await folder.read(name)
    try {
      const { size } = await file.stat()
      if (size > MAX_SCRIPT) throw tooLarge()
      // The size may be no size at all (/proc), or grow, and one read may bring less than there is.
      const buffer = Buffer.alloc(MAX_SCRIPT + 1)
      for (let length = 0; ; ) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
        if (bytesRead === 0) return buffer.subarray(0, length)
        length += bytesRead
        if (length > MAX_SCRIPT) throw tooLarge()
      }
    } finally {
      await file.close()
    }
  } finally {
    await folder.close()
  }
}

const tooLarge = () => mhvError('MHV_INPUT_INVALID', `path: the script is larger than ${MAX_SCRIPT} bytes`)

const NOWHERE: OutputSink = {
  write: async () => undefined,
  collect: async () => ({ text: '', bytes: 0, dropped_bytes: 0, utf8: true }),
}

/** A script that was ended by KILL could not remove its file. */
async function removeLeft(ctx: SshContext, name: string, how: Omit<CommandInput, 'command'>): Promise<void> {
  const calm: SshContext = { ...ctx, signal: AbortSignal.timeout(REMOVE_MS), output: NOWHERE }
  const { sudo } = how
  try {
    await runCommand(calm, { command: removal(name), ...(sudo === undefined ? {} : { sudo }) })
  } catch (error) {
    ctx.log.warn('the file of a script may be left on its host', {
      run_id: ctx.run_id,
      name,
      error: toMhvError(error).code,
    })
  }
}
