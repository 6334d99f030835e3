export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** Printed instead of values where the shell shall complete names of folders itself. */
export const FOLDERS_MARK = ':folders'

/**
 * What the program prints for these scripts: a line for each value, a tab, and a description. Every value is made of
 * characters that mean nothing to a shell.
 */
const SCRIPTS: Readonly<Record<Shell, string>> = {
  // For bash 3.2, which macOS has, as well.
  bash: `# bash completion of mahavishnu
_mahavishnu() {
  local -a words described
  local count=0 i word glue= whole lead value rest
  COMPREPLY=()
  # Bash takes words apart at = and :, the program wants them whole.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((count > 0)) && [[ $word == [=:] || -n $glue ]]; then
      words[count-1]+=$word
    else
      words[count]=$word
      count=$((count + 1))
    fi
    glue=
    if [[ $word == [=:] ]]; then glue=1; fi
  done
  whole=\${words[count-1]}
  # Bash puts what we answer after the last = or : of the word.
  lead=\${whole%"\${whole##*[=:]}"}
  while IFS=$'\\t' read -r value rest; do
    if [[ $value == ${FOLDERS_MARK} ]]; then
      compopt -o filenames 2> /dev/null
      while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -d -- "\${whole##*=}")
      return
    fi
    COMPREPLY+=("\${value#"$lead"}")
    described+=("\${value#"$lead"}\${rest:+  ($rest)}")
  done < <("\${1/#\\~/$HOME}" complete -- "\${words[@]}" 2> /dev/null)
  if ((\${#COMPREPLY[@]} == 1)) && [[ \${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2> /dev/null; fi
  # 63 is a second Tab: the values are listed, not inserted.
  if ((\${COMP_TYPE:-9} == 63 && \${#COMPREPLY[@]} > 1)); then COMPREPLY=("\${described[@]}"); fi
}
complete -F _mahavishnu mahavishnu
`,
  zsh: `#compdef mahavishnu
# zsh completion of mahavishnu
_mahavishnu() {
  local -a lines described open
  local line value text
  lines=("\${(@f)$("\${(Q)words[1]/#\\~/$HOME}" complete -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2> /dev/null)}")
  for line in $lines; do
    value=\${line%%$'\\t'*}
    if [[ $value == ${FOLDERS_MARK} ]]; then
      compset -P '*='
      _files -/
      return
    fi
    text=\${value//:/\\\\:}
    if [[ $line == *$'\\t'?* ]]; then text+=":\${line#*$'\\t'}"; fi
    if [[ $value == *= ]]; then open+=("$text"); else described+=("$text"); fi
  done
  if (( $#open )); then _describe -t values 'setting' open -S ''; fi
  if (( $#described )); then _describe -t values 'value' described; fi
}
if [[ \${funcstack[1]} == _mahavishnu ]]; then
  _mahavishnu "$@"
else
  # Completion is not turned on yet in a shell without start files.
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D; }
  compdef _mahavishnu mahavishnu
fi
`,
  fish: `# fish completion of mahavishnu
function __mahavishnu_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] complete -- $words[2..-1] "$current" 2> /dev/null)
        if test "$line" = ${FOLDERS_MARK}
            set -l lead (string match -r -- '^--[a-z-]+=' "$current")
            for folder in (__fish_complete_directories (string replace -- "$lead" '' "$current"))
                echo "$lead$folder"
            end
        else
            echo $line
        end
    end
end
complete -c mahavishnu -f -k -a '(__mahavishnu_complete)'
`,
}

/** The script that a shell reads once; it calls `mahavishnu complete -- WORDS` whenever something is completed. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell]
}
