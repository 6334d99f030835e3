import { posix } from 'node:path'
import { shellQuote } from '../shell-quote.ts'

/** Longest script, in characters or bytes. Larger programs are for file transfer. */
export const MAX_SCRIPT = 1024 * 1024

/** Interpreters that take `-s` for "the script comes by standard input"; others take `-`. */
const SHELLS = ['sh', 'dash', 'bash', 'zsh', 'ksh', 'ksh93', 'mksh', 'ash', 'yash', 'posh']

export interface ScriptCommand {
  readonly interpreter: readonly string[]
  readonly args: readonly string[]
}

const words = (list: readonly string[]) => list.map(shellQuote).join(' ')

/** The interpreter reads the script from standard input: `sh -s -- ARG…`, `env bash -s -- ARG…`, `python3 - ARG…`. */
export function byStdin({ interpreter, args }: ScriptCommand): string {
  // Behind a `-`, a shell would take the first argument for the name of its script.
  const shell = interpreter.some((word) => SHELLS.includes(posix.basename(word)))
  return `exec ${words([...interpreter, ...(shell ? ['-s', '--'] : ['-']), ...args])}`
}

export interface ScriptFile extends ScriptCommand {
  /** Names the folder; random, but whoever sees the shell's command line in ps(1) knows it. */
  readonly name: string
  /** Bytes of the script, which come first on standard input. */
  readonly bytes: number
  /** Whether the script's own standard input follows them. */
  readonly stdin: boolean
}

const PLACE = '_mhv=${TMPDIR:-/tmp}; case $_mhv in /*) ;; *) _mhv=/tmp;; esac'

/** Says that the script could not be placed; with the name of its folder, which no script knows to say. */
export function notPlaced(name: string): string {
  return `mahavishnu: no place for ${name}`
}

/**
 * Writes the script into a folder of its own (mkdir(2) is exclusive, and 0700 by the umask), runs it, and removes the
 * folder when the shell ends, by itself or by a signal that it sees. Nothing is run, and nothing removed, where the
 * folder is there already: it is somebody else's, and so may be what lies in it. A script that did not come whole is not
 * run.
 *
 * dd(1) by single bytes takes none of what follows; where nothing does, cat(1) is faster.
 */
export function byFile({ interpreter, args, name, bytes, stdin }: ScriptFile): string {
  const refuse = `{ printf '%s\\n' ${shellQuote(notPlaced(name))} >&2; exit 126; }`
  return [
    `${PLACE}; _mhv=$_mhv/${name}; _mhvd=`,
    `trap '[ -z "$_mhvd" ] || rm -rf -- "$_mhv"' EXIT; trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM`,
    `(umask 077; mkdir -- "$_mhv") 2>/dev/null || ${refuse}`,
    '_mhvd=1',
    `(umask 077; ${stdin ? `dd bs=1 count=${bytes}` : 'cat'} >"$_mhv/script") 2>/dev/null`,
    `[ "$(wc -c 2>/dev/null <"$_mhv/script")" -eq ${bytes} ] 2>/dev/null || ${refuse}`,
    `${words(interpreter)} "$_mhv/script" ${words(args)}${stdin ? '' : ' </dev/null'}`,
    'exit $?',
  ].join('\n')
}

/** Removes what a script left that was ended by force. */
export function removal(name: string): string {
  return `${PLACE}; rm -rf -- "$_mhv/${name}"`
}
