import { RUN_ID_VARIABLE } from './command-line.ts'

export interface KillScriptFacts {
  /** PID of the command's shell, which is the id of its session; undefined while it has not reported it. */
  readonly session: number | undefined
  /** The random marker in the arguments of the command's shell. */
  readonly marker: string
  /** The run id in the environment of everything that the command started. */
  readonly runId: string
  /** Seconds between TERM and KILL. */
  readonly grace: number
  /** Where the process file system lies; another place in tests. */
  readonly proc?: string
}

/** Each line of the answer begins with this; a name of a process cannot begin a line. */
export const KILL_REPORT = 'mahavishnu-end'

/**
 * A POSIX sh script (dash, bash, busybox, ksh) that ends the session of a command: sshd gives every exec a session of
 * its own, whose id is the PID of its shell (setsid in do_exec_no_pty of OpenSSH's session.c). TERM, then KILL after
 * the grace time, looking again each time for processes started meanwhile.
 *
 * PIDs come round again. So before anything is sent, one process of the session must carry a sign of the run: the
 * marker in its arguments (the shell itself) or the run id in its environment (what the shell has started).
 *
 * What sshd has forked and not begun yet (~/.ssh/rc runs before a command, and a busy host takes its time) shows neither
 * sign: while our own sshd has such a child, it is looked again, for 2 seconds, and then nothing is known (`blind`).
 *
 * Answers, one fact a line: `session N`, `foreign` (a session with that id, without a sign of the run), `still PID
 * NAME`, `gone PID NAME` (it has the run id, but made itself another session, and is left alone), `blind` (no way to
 * tell sessions apart), `done`.
 *
 * Processes are read from /proc: the name in `stat` stands in parentheses and may hold anything, spaces, parentheses
 * and line breaks too, so fields are counted from the last parenthesis (proc(5)). Without /proc, from `ps`, whose
 * column of sessions is only used where it knows our own; process groups, which a shell without job control never
 * changes, are the next best.
 */
export function killScript({ session, marker, runId, grace, proc = '/proc' }: KillScriptFacts): string {
  const ticks = Math.max(0, Math.round(grace * 10))
  return `exec 2>/dev/null
P=${proc} S=${session ?? ''} M=${marker} V=${RUN_ID_VARIABLE}=${runId} T=${ticks} K=${KILL_REPORT}
${SCRIPT}`
}

// Written with \${ for what the shell shall see as ${.
const SCRIPT = String.raw`say() { printf '%s %s\n' "$K" "$*"; }
facts() {
  text= state= parent= sess= name=
  if [ -r "$P/self/stat" ]; then
    { while IFS= read -r part || [ -n "$part" ]; do text="$text$part "; done; } <"$P/$1/stat" || return 1
    [ -n "$text" ] || return 1
    name=\${text#*\(} name=\${name%\)*}
    set -- \${text##*\)}
    state=$1 parent=$2 sess=$4
  else
    set -- $(ps -o stat= -o ppid= -o $C= -o comm= -p "$1")
    [ $# -ge 3 ] || return 1
    state=$1 parent=$2 sess=$3
    shift 3
    name=$*
  fi
}
alive() { facts "$1" || return 1; case $state in Z*|X*|x*) return 1;; esac; }
holding() {
  if [ -n "$grep" ]; then
    for f in $(grep -l -s -F -e "$2" "$P"/[0-9]*/"$1"); do f=\${f#"$P"/}; printf '%s ' "\${f%%/*}"; done
  else
    for d in "$P"/[0-9]*; do if holds "\${d##*/}" "$1" "$2"; then printf '%s ' "\${d##*/}"; fi; done
  fi
}
holds() {
  if [ -n "$grep" ]; then grep -q -s -F -e "$3" "$P/$1/$2"; return; fi
  text=
  { while IFS= read -r part || [ -n "$part" ]; do text="$text$part "; done; } <"$P/$1/$2" || return 1
  case $text in *"$3"*) return 0;; esac
  return 1
}
members() {
  found=
  [ -n "$S" ] || return 0
  if [ -r "$P/self/stat" ]; then candidates=$(holding stat " $S ")
  else candidates=$(ps -A -o pid= -o $C= | while read -r p s; do [ "$s" != "$S" ] || echo "$p"; done); fi
  for p in $candidates; do
    if alive "$p" && [ "$sess" = "$S" ]; then found="$found $p"; fi
  done
}
still() {
  left=
  for p in $found; do
    if alive "$p" && [ "$sess" = "$S" ]; then left="$left $p"; fi
  done
  found=$left
}
marked() {
  if [ -r "$P/self/stat" ]; then holds "$1" cmdline "$M"; return; fi
  case $(ps -ww -o args= -p "$1") in *"$M"*) return 0;; esac
  return 1
}
running() { [ -r "$P/self/environ" ] && holds "$1" environ "$V"; }
leads() { facts "$1" && [ "$sess" = "$1" ] && [ "$1" != $$ ]; }
find_session() {
  if [ -r "$P/self/stat" ]; then candidates=$(holding cmdline "$M")
  else candidates=$(ps -A -o pid= -o $C= | while read -r p s; do [ "$s" != "$p" ] || echo "$p"; done); fi
  for p in $candidates; do
    if leads "$p" && marked "$p"; then S=$p; return 0; fi
  done
  [ -r "$P/self/stat" ] || return 0
  for p in $(holding environ "$V"); do
    if leads "$p" && facts "$parent"; then
      case $name in sshd*|dropbear*) S=$p; return 0;; esac
    fi
  done
}
starting() {
  [ -r "$P/self/stat" ] && facts $$ || return 1
  O=$parent hops=0
  while facts "$O"; do
    case $name in sshd*|dropbear*) break;; esac
    O=$parent hops=$((hops + 1))
    [ $hops -lt 3 ] || return 1
  done
  for p in $(holding stat " $O "); do
    if leads "$p" && [ "$parent" = "$O" ]; then
      case $name in sshd*|dropbear*) holds "$p" cmdline @internal-sftp || return 0;; esac
    fi
  done
  return 1
}
rest() { if sleep 0.1; then tick=1; else sleep 1; tick=10; fi; }
grep=
if printf 'a\000b\n' | grep -q -F -e b; then grep=1; fi
C=sess
if [ ! -r "$P/self/stat" ]; then
  [ "$(ps -o sess= -p $$ | tr -d ' ')" = $$ ] || C=pgid
  if [ "$(ps -o $C= -p $$ | tr -d ' ')" != $$ ]; then say blind; exit 0; fi
fi
waited=0
[ -n "$S" ] || find_session
while [ -z "$S" ] && starting; do
  if [ $waited -ge 20 ]; then say blind; exit 0; fi
  rest
  waited=$((waited + tick))
  find_session
done
[ -n "$S" ] || find_session
[ -z "$S" ] || say session "$S"
members
ours=
for p in $found; do
  if marked "$p" || running "$p"; then ours=1; break; fi
done
if [ -n "$found" ] && [ -z "$ours" ]; then say foreign
elif [ -n "$found" ]; then
  kill -TERM $found
  while [ "$T" -gt 0 ]; do
    rest
    T=$((T - tick))
    still
    [ -n "$found" ] && continue
    members
    [ -n "$found" ] || break
    kill -TERM $found
  done
  members
  n=0
  while [ -n "$found" ] && [ $n -lt 20 ]; do
    kill -KILL $found
    rest
    members
    n=$((n + tick))
  done
fi
for p in $found; do
  facts "$p" && say still "$p" "$name"
done
for p in $(holding environ "$V"); do
  if [ "$p" != $$ ] && alive "$p" && [ "$sess" != "$S" ]; then say gone "$p" "$name"; fi
done
say done
`.replaceAll('\\${', '${')
