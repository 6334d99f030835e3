import { randomBytes } from 'node:crypto'
import { basename } from 'node:path'

/**
 * Makes a shell tell where its prompts, commands and outputs begin and end: the marks of FinalTerm (OSC 133), each with
 * a random word that only this shell knows. A program that writes such marks itself does not know the word. It is in
 * a variable that is not exported, and in a file for the owner only that the shell deletes when it has read it.
 */
export interface ShellIntegration {
  readonly nonce: string
  /** Files to write, for the owner only (0600, folder 0700), before the shell starts. */
  readonly files: Readonly<Record<string, string>>
  /** Program and arguments. */
  readonly command: readonly string[]
  /** Variables to add to the environment. */
  readonly environment: Readonly<Record<string, string>>
}

export function newNonce(): string {
  return randomBytes(16).toString('hex')
}

const POSIX_SHELLS = ['sh', 'dash', 'ash', 'ksh', 'ksh93', 'mksh']

/**
 * What starts this shell with marks, with the user's own start-up files read first; undefined for a shell that is not
 * known (fish, csh): `terminal.run` cannot be used in it then, all else can.
 *
 * @param folder a new, empty folder, only for this session, that the shell can read
 */
export function shellIntegration(shell: string, folder: string, nonce: string): ShellIntegration | undefined {
  const name = basename(shell).replace(/^-/, '')
  const set = (file: string, text: string, args: readonly string[], environment: Record<string, string>) => ({
    nonce,
    files: { [file]: text },
    command: [shell, ...args],
    environment,
  })
  if (name === 'bash') return set('bashrc', bashFile(folder, nonce), ['--rcfile', `${folder}/bashrc`, '-i'], {})
  if (name === 'zsh') return set('.zshrc', zshFile(folder, nonce), ['-i'], { ZDOTDIR: folder })
  if (!POSIX_SHELLS.includes(name)) return undefined
  return set('shrc', posixFile(folder, nonce), ['-i'], { ENV: `${folder}/shrc` })
}

/** A string for the single quotes of a POSIX shell. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`

/** Needs bash 4.4 for PS0; an older one gives no `C`, and runs are then typed with one. */
function bashFile(folder: string, nonce: string): string {
  return `${readBefore(folder, 'bashrc', '[ -r ~/.bashrc ] && . ~/.bashrc')}
__mhv=${nonce}
__mhv_first() {
  local status=$?
  printf '\\033]133;D;%s;mhv=%s\\033\\\\' "$status" "$__mhv"
  return "$status"
}
# Last, since what ran before may have made a new PS1.
__mhv_last() {
  case $PS1 in
    *"133;A;mhv="*) ;;
    *) PS1="\\\\[\\\\e]133;A;mhv=$__mhv\\\\e\\\\\\\\\\\\]$PS1\\\\[\\\\e]133;B;mhv=$__mhv\\\\e\\\\\\\\\\\\]" ;;
  esac
}
PROMPT_COMMAND="__mhv_first
\${PROMPT_COMMAND[0]-}
__mhv_last"
PS0="\${PS0-}\\e]133;C;mhv=$__mhv\\e\\\\\\\\"
# What is typed by a program is meant as it stands.
set +H
`
}

function zshFile(folder: string, nonce: string): string {
  return `${readBefore(folder, '.zshrc', 'unset ZDOTDIR\n[[ -r ~/.zshrc ]] && . ~/.zshrc')}
typeset -g __mhv=${nonce}
__mhv_precmd() {
  local code=$?
  printf '\\033]133;D;%s;mhv=%s\\033\\\\' $code $__mhv
  [[ $PS1 == *'133;A;mhv='* ]] || PS1=$'%{\\e]133;A;mhv='$__mhv$'\\e\\\\%}'$PS1$'%{\\e]133;B;mhv='$__mhv$'\\e\\\\%}'
  return $code
}
__mhv_preexec() { printf '\\033]133;C;mhv=%s\\033\\\\' $__mhv }
typeset -ga precmd_functions preexec_functions
precmd_functions=(__mhv_precmd $precmd_functions)
preexec_functions+=(__mhv_preexec)
# PROMPT_SP would write a line end behind the output; and what is typed by a program is meant as it stands.
unsetopt prompt_sp bang_hist
`
}

/** POSIX knows no hook before a command: there is no \`C\`; ours begin each command with one of its own. */
function posixFile(folder: string, nonce: string): string {
  return `${readBefore(folder, 'shrc', '')}
__mhv=${nonce}
PS1=$(printf '\\033]133;D;$?;mhv=%s\\033\\\\\\033]133;A;mhv=%s\\033\\\\%s\\033]133;B;mhv=%s\\033\\\\' "$__mhv" "$__mhv" "\${PS1-$ }" "$__mhv")
unset ENV
`
}

function readBefore(folder: string, file: string, userFile: string): string {
  return `rm -f -- ${quoted(`${folder}/${file}`)}\nrmdir -- ${quoted(folder)} 2>/dev/null\n${userFile}`
}
