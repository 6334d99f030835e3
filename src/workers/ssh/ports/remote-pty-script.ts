import { shellQuote } from '../shell-quote.ts'

/** What is asked of the host about a terminal. */
export type TerminalQuestion =
  | { readonly kind: 'signal'; readonly name: string }
  | { readonly kind: 'echo' }
  /** `grace`: seconds between HUP and KILL. */
  | { readonly kind: 'end'; readonly grace: number }

/** The line of the answer begins with this. */
export const TERMINAL_REPORT = 'mahavishnu-terminal'

/**
 * A POSIX sh script (dash, bash, busybox, ksh) about the terminal that a process leads. It has to run over the same
 * connection: the server's process for a connection is the parent of both, and by that the leader is known to be ours and
 * not another process that got its number later.
 *
 * Answers with one word: `foreign` (it is not, or is gone); to `signal` `sent`, `none` (nothing is in front) or `denied` (it
 * belongs to somebody else, as behind sudo); to `echo` `hidden`, `shown` or `unknown`; to `end` `ended` or `left`.
 *
 * Processes are read from /proc, where the name in `stat` may hold anything, so that fields are counted from the last
 * parenthesis (proc(5)); without /proc from `ps`, whose column for the session is not the same everywhere: there only the
 * leader and the job in front are ended.
 */
export function terminalScript(leader: number, question: TerminalQuestion): string {
  const facts = [`S=${leader}`, `K=${TERMINAL_REPORT}`]
  if (question.kind === 'signal') facts.push(`N=${shellQuote(question.name)}`)
  if (question.kind === 'end') facts.push(`T=${Math.max(1, Math.round(question.grace * 10))}`)
  return `exec 2>/dev/null\n${facts.join(' ')}\n${LOOK}${ACT[question.kind]}`
}

// Written with \${ for what the shell shall see as ${.
const script = (text: TemplateStringsArray) => String.raw(text).replaceAll('\\${', '${')

const LOOK = script`say() { printf '%s %s\n' "$K" "$1"; exit 0; }
look() {
  text=
  if [ -r /proc/self/stat ]; then
    { while IFS= read -r part || [ -n "$part" ]; do text="$text$part "; done; } <"/proc/$1/stat" || return 1
    set -- \${text##*\)}
    [ $# -ge 6 ] || return 1
    state=$1 parent=$2 session=$4 front=$6
  else
    set -- $(ps -o stat= -o ppid= -o tpgid= -p "$1")
    [ $# -eq 3 ] || return 1
    state=$1 parent=$2 session= front=$3
  fi
  case $state in Z*|X*) return 1;; esac
}
look "$S" && [ "$parent" = "$PPID" ] || say foreign
`

const ACT = {
  signal: script`[ "$front" -gt 1 ] || say none
if kill -"$N" -"$front"; then say sent; fi
if kill -0 -"$front"; then say denied; fi
look "$S" || say foreign
[ "$front" -gt 1 ] || say none
say denied
`,
  echo: script`t=/proc/$S/fd/0
[ -r "$t" ] || t=/dev/$(ps -o tty= -p "$S" | tr -d ' ')
set -- $(stty -a <"$t")
case " $* " in
  *" echo "*|*" echo;"*) say shown;;
  *" -echo "*) case " $* " in *" icanon"*) say hidden;; esac;;
esac
say unknown
`,
  end: script`members() {
  found=
  if [ -r /proc/self/stat ]; then
    for d in $(grep -l -s -F -e " $S " /proc/[0-9]*/stat); do
      p=\${d#/proc/} p=\${p%/stat}
      if look "$p" && [ "$session" = "$S" ]; then found="$found $p"; fi
    done
  else
    if look "$S" && [ "$parent" = "$PPID" ]; then found="$S -$front"; fi
  fi
}
told=
n=0
members
while [ -n "$found" ] && [ $n -lt $((T + 20)) ]; do
  for p in $found; do
    if [ $n -ge "$T" ]; then kill -KILL "$p"
    else
      case "$told " in
        *" $p "*) ;;
        *) kill -HUP "$p"; kill -CONT "$p"; told="$told $p";;
      esac
    fi
  done
  if sleep 0.1; then n=$((n + 1)); else sleep 1; n=$((n + 10)); fi
  members
done
[ -z "$found" ] || say left
say ended
`,
} as const
