import { shellQuote } from '../shell-quote.ts'

/**
 * POSIX sh scripts (dash, bash, busybox, ksh, zsh) with nothing but POSIX tools, by which a command runs on without a
 * connection. Everything of a command lies in one private directory `BASE/RUN`:
 *
 * - `claim`: a directory, made once: whoever makes it starts the command, or sees to it that nobody ever does
 * - `facts`: id of the session, and of the host's boot; `pid.N`: the supervisor's process
 * - `command`, `stdin`; `stdout` and `stderr`, each up to the limit
 * - `open`, later `code.N` (the command has ended, what it left behind holds its output open), at last `exit.N`
 * - `stdout.whole`, `stderr.whole`, later `stdout.cut.N`: so many bytes at least were not kept
 *
 * What has to be written at the end is told by a file's name: renaming is atomic, and works on a full disk.
 */

/** What every script has in front: the marker of its answer, and the run. */
export interface ScriptPlace {
  /** Random, for this answer alone. */
  readonly answer: string
  readonly runId: string
  /** The run's directory, where it is known; it is looked for otherwise. */
  readonly directory?: string | undefined
}

export interface StartFacts extends ScriptPlace {
  /** The marker of the command: in the arguments of the supervisor's shell, by which it is known. */
  readonly marker: string
  /** Shell that runs the command's script. */
  readonly shell: string
  /** Bytes that come by standard input: the command's script, then its standard input. */
  readonly commandBytes: number
  readonly payloadBytes: number
  /** Most bytes kept of each stream; rounded up to 1024. */
  readonly maxBytes: number
}

export interface PollFacts extends ScriptPlace {
  readonly marker: string
  /** First block that is wanted of each stream, and how many. */
  readonly stdout: BlockRange
  readonly stderr: BlockRange
}

export interface BlockRange {
  readonly from: number
  readonly count: number
}

/** Bytes of a block, in which offsets are counted on the host: every dd(1) seeks in a file by whole blocks. */
export const BLOCK_BYTES = 4096

/** Where the directories are, in this order: what survives a reboot and the end of the last session comes first. */
// No XDG_RUNTIME_DIR: logind removes it with the user's last session, while the command runs.
const COMMON = String.raw`[ -z "\${ZSH_VERSION:-}" ] || emulate sh
umask 077
U=$(id -u)
say() { printf '%s %s\n' "$A" "$*"; }
each() {
  case \${XDG_STATE_HOME:-} in /*) "$1" "$XDG_STATE_HOME/mahavishnu/detached" && return 0;; esac
  case \${HOME:-} in /*) "$1" "$HOME/.local/state/mahavishnu/detached" && return 0;; esac
  "$1" "/var/tmp/mahavishnu-$U/detached" || "$1" "/tmp/mahavishnu-$U/detached"
}
ours() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ]; }
has() { ours "$1" && [ -d "$1/$R/claim" ] && D=$1/$R; }
known() { if [ -n "$D" ]; then [ -d "$D/claim" ]; else each has; fi; }
can() {
  mkdir -p -- "\${1%/*}" "$1" 2>/dev/null
  ours "\${1%/*}" && ours "$1" && chmod 700 "\${1%/*}" "$1" 2>/dev/null || return 1
  mkdir -- "$1/$R" 2>/dev/null
  ours "$1/$R" || return 1
  if printf '%4096s' ' ' 2>/dev/null >"$1/$R/payload.$$"; then D=$1/$R; return 0; fi
  W="$1 takes no file"
  rm -f -- "$1/$R/payload.$$"
  [ -d "$1/$R/claim" ] || rmdir -- "$1/$R" 2>/dev/null
  return 1
}
place() { W='no private folder can be made'; each can; }
unplace() { rm -f -- "$D/payload.$$" "$D/command.$$" "$D/stdin.$$"; [ -d "$D/claim" ] || rmdir -- "$D" 2>/dev/null; }
boot() { B=; if [ -r /proc/sys/kernel/random/boot_id ]; then read -r B </proc/sys/kernel/random/boot_id; fi; }
`.replaceAll('\\${', '${')

function head({ answer, runId, directory }: ScriptPlace): string {
  return `A=${answer} R=${shellQuote(runId)} D=${shellQuote(directory ?? '')}\n${COMMON}`
}

/**
 * Starts the command, once: a second start, however late, finds the claim of the first. Answers `started DIRECTORY`,
 * `found DIRECTORY`, or `failed WHY`: then nothing runs and nothing is left.
 *
 * The supervisor is a subshell in the session that sshd gave this exec, so the session is the command's own, and is
 * ended by it as that of an attached command. Its streams go through `cat`: what is beyond the limit of the size of
 * files (ulimit -f counts 512 bytes, bash 1024) is read and dropped, and the command never waits for a reader.
 */
export function startScript(facts: StartFacts): string {
  const { marker, shell, commandBytes, payloadBytes, maxBytes } = facts
  return `${head(facts)}M=${marker} S=${shellQuote(shell)} C=${commandBytes} N=${payloadBytes} L=${Math.ceil(maxBytes / 1024) * 2}
${START}`
}

const START = String.raw`if known; then say found "$D"; exit 0; fi
if ! place; then say failed "$W"; exit 0; fi
P=$D/payload.$$
cat 2>/dev/null >"$P"
n=$(wc -c 2>/dev/null <"$P")
if [ "$((n))" != "$N" ]; then unplace; say failed "only $((n)) of $N bytes of the command could be written to $D"; exit 0; fi
if { dd bs="$C" count=1 2>/dev/null >"$D/command.$$" && cat >"$D/stdin.$$"; } 2>/dev/null <"$P"; then rm -f -- "$P"
else unplace; say failed "the command could not be written to $D"; exit 0; fi
if ! mkdir -- "$D/claim" 2>/dev/null; then
  unplace
  if [ -d "$D/claim" ]; then say found "$D"; else say failed "no folder can be made in $D"; fi
  exit 0
fi
fail() { rm -rf -- "$D"; say failed "$D takes no more files"; exit 0; }
boot
mv -- "$D/command.$$" "$D/command" && mv -- "$D/stdin.$$" "$D/stdin" || fail
for f in facts open stdout stderr stdout.whole stderr.whole pid; do printf '' 2>/dev/null >"$D/$f" || fail; done
printf '%s %s\n' "$$" "$B" 2>/dev/null >"$D/facts" || fail
case \${BASH_VERSION:+b}\${SHELLOPTS:-} in b*posix*) ;; b*) L=$((L / 2));; esac
keep() {
  ulimit -c 0
  ulimit -f "$L"
  if cat >"$D/$1"; then return; fi
  n=$(wc -c)
  mv -- "$D/$1.whole" "$D/$1.cut.$((n))"
}
supervise() {
  { {
    { "$S" "$D/command" <"$D/stdin" 4>&-; mv -- "$D/open" "$D/code.$?"; } 2>&1 >&4 4>&- | (keep stderr) 2>/dev/null >/dev/null 4>&-
  } 4>&1 | (keep stdout) 2>/dev/null >/dev/null; } 2>/dev/null
  for f in $(ls "$D"); do
    case $f in code.*) mv -- "$D/$f" "$D/exit.\${f#code.}";; esac
  done
}
# Not as redirections of a function: for their time dash keeps copies of what was there, and sshd would wait for those.
{ exec </dev/null >/dev/null 2>&1; supervise; } &
mv -- "$D/pid" "$D/pid.$!"
say started "$D"
`.replaceAll('\\${', '${')

/**
 * Says how far the command is, and then gives what there is of each stream: `A STATE STDOUT STDERR CUT CUT SESSION BOOT
 * ALIVE` on standard output, then blocks of stdout; `A` on standard error, then blocks of stderr. Sizes in bytes; `cut` is
 * `no` or the bytes not kept; boot is `same`, `other` or `unknown`; alive is `yes`, `no` or `unknown`. The state is looked at
 * before the sizes: once it is `exit.N`, they are the last ones. `A none` where there is no such command.
 */
export function pollScript(facts: PollFacts): string {
  const { marker, stdout, stderr } = facts
  const ranges = `F=${stdout.from} N=${stdout.count} G=${stderr.from} O=${stderr.count}`
  return `${head(facts)}M=${marker} ${ranges}\n${POLL}`
}

const POLL = String.raw`known || { say none; exit 0; }
look() {
  T=none X=no Y=no K=
  for f in $(ls "$D"); do
    case $f in
      exit.*|code.*|open) T=$f;;
      stdout.cut.*) X=\${f#stdout.cut.};;
      stderr.cut.*) Y=\${f#stderr.cut.};;
      pid.*) K=\${f#pid.};;
    esac
  done
}
look
# Claimed, and not begun: its start may be at it, and was sent again because its answer was lost.
n=0
while [ "$T" = none ] && [ "$n" -lt 3 ]; do
  sleep 1
  n=$((n + 1))
  look
done
H=yes
case $T in
  open|code.*)
    if [ -z "$K" ]; then H=unknown
    elif [ -r "/proc/$$/cmdline" ]; then grep -q -s -F -e "$M" "/proc/$K/cmdline" || H=no
    else kill -0 "$K" 2>/dev/null || H=no; fi
    # It may have ended between the two looks.
    [ "$H" = yes ] || look;;
esac
Z=0 Q=
if [ -r "$D/facts" ]; then read -r Z Q <"$D/facts"; fi
boot
if [ -z "$B" ] || [ -z "$Q" ]; then I=unknown; elif [ "$B" = "$Q" ]; then I=same; else I=other; fi
a=$(wc -c <"$D/stdout") b=$(wc -c <"$D/stderr")
say "$T" "$((a))" "$((b))" "$X" "$Y" "\${Z:-0}" "$I" "$H"
if [ "$a" -gt $((F * 4096)) ]; then dd if="$D/stdout" bs=4096 skip="$F" count="$N" 2>/dev/null; fi
printf '%s\n' "$A" >&2
if [ "$b" -gt $((G * 4096)) ]; then dd if="$D/stderr" bs=4096 skip="$G" count="$O" >&2 2>/dev/null; fi
`.replaceAll('\\${', '${')

/**
 * Sees to it that the command is never started, where it has not been: takes the claim. Answers `never`, or `found
 * DIRECTORY` where somebody has claimed it.
 */
export function forbidScript(place: ScriptPlace): string {
  return `${head(place)}${FORBID}`
}

const FORBID = `if known; then say found "$D"; exit 0; fi
place || { say failed "$W"; exit 0; }
rm -f -- "$D/payload.$$"
if mkdir -- "$D/claim" 2>/dev/null; then say never "$D"; else say found "$D"; fi
`

/**
 * Removes the run's directory, unless its command may still run and is not known to have been ended: then it answers
 * `running`. `keepClaim`: the empty claim stays, so that a start which is still on its way finds it. Claims of that kind
 * are removed after two days, when every run of that time is over. Answers `removed`.
 */
export function removeScript(place: ScriptPlace & { readonly keepClaim: boolean; readonly ended: boolean }): string {
  return `${head(place)}K=${place.keepClaim ? 1 : ''} E=${place.ended ? 1 : ''}\n${REMOVE}`
}

const REMOVE = String.raw`known || { say removed; exit 0; }
for f in $(ls "$D"); do
  case $E$f in open|code.*) say running; exit 0;; esac
done
if [ -n "$K" ]; then
  for f in $(ls "$D"); do [ "$f" = claim ] || rm -rf -- "$D/$f"; done
else rm -rf -- "$D"; fi
find "\${D%/*}" -type d -name claim -mtime +2 2>/dev/null | while IFS= read -r f; do
  [ -e "\${f%/claim}/facts" ] || rmdir -- "$f" "\${f%/claim}" 2>/dev/null
done
say removed
`.replaceAll('\\${', '${')
