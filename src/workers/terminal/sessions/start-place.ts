import { constants } from 'node:fs'
import { access, realpath, stat } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { delimiter, isAbsolute, join, resolve, sep } from 'node:path'
import { mhvError, systemCode } from '../../../core/errors.ts'

/**
 * The folder in which a local session starts, with every symbolic link resolved.
 *
 * @param wanted absolute, or from `~` on; the first of the allowed ones where it is missing
 * @param allowed as in the settings: relative ones start in the instance folder
 * @throws MHV_TERMINAL_DIRECTORY
 */
export async function startFolder(
  wanted: string | undefined,
  allowed: readonly string[],
  instance: string,
  home = homedir(),
): Promise<string> {
  const asked = wanted ?? allowed[0] ?? '~'
  const path = wanted === undefined ? resolve(instance, fromHome(asked, home)) : fromHome(asked, home)
  if (!isAbsolute(path) || path.includes('\0')) throw refused(asked, 'is no absolute path')
  const real = await realFolder(path)
  if (real === null) throw refused(asked, 'is no folder that can be entered')
  for (const each of allowed) {
    const root = await realFolder(resolve(instance, fromHome(each, home)))
    if (root !== null && isWithin(real, root)) return real
  }
  throw refused(asked, 'is not within terminal.directories')
}

/**
 * The program file of a local session and its arguments.
 *
 * @param command null for the login shell
 * @throws MHV_TERMINAL_NOT_STARTED where there is no such program
 */
export async function startProgram(
  command: readonly string[] | null,
  env: Readonly<Record<string, string>>,
  cwd: string,
  own: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly file: string; readonly args: readonly string[] }> {
  // Of our own environment: what a caller gives for SHELL is for the program, and starts none.
  if (command === null) return { file: loginShell(own), args: ['-l'] }
  const [program, ...args] = command
  if (program === undefined || program === '' || command.some((each) => each.includes('\0'))) {
    throw mhvError('MHV_TERMINAL_NOT_STARTED', 'the command is empty or contains a null character')
  }
  const places = program.includes('/')
    ? [resolve(cwd, program)]
    : (env.PATH ?? '').split(delimiter).map((folder) => join(resolve(cwd, folder), program))
  for (const file of places) {
    if (await isProgram(file)) return { file, args }
  }
  const name = JSON.stringify(program.slice(0, 200))
  throw mhvError('MHV_TERMINAL_NOT_STARTED', `there is no program ${name}, or it may not be run`)
}

/** The shell of this user, by its path. */
export function loginShell(env: NodeJS.ProcessEnv): string {
  if (env.SHELL?.startsWith('/')) return env.SHELL
  try {
    return userInfo().shell ?? '/bin/sh'
  } catch {
    // A user without an entry in the user database.
    return '/bin/sh'
  }
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK)
    return (await stat(file)).isFile()
  } catch {
    return false
  }
}

async function realFolder(path: string): Promise<string | null> {
  try {
    const real = await realpath(path)
    await access(real, constants.X_OK)
    return (await stat(real)).isDirectory() ? real : null
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined) throw error
    return null
  }
}

function isWithin(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep)
}

function fromHome(path: string, home: string): string {
  if (path === '~') return home
  return path.startsWith('~/') ? join(home, path.slice(2)) : path
}

function refused(path: string, why: string) {
  return mhvError('MHV_TERMINAL_DIRECTORY', `${JSON.stringify(path.slice(0, 500))} ${why}`)
}
