"""Let the shell complete commands and keys: `eval "$(python -m neoseg.completion)"`.

Works in bash and zsh. Groups, options and keys come from Hydra's own completion.
"""

from neoseg.__main__ import commands
from neoseg.configuration.described import composed_commands

SCRIPT = """\
if [ -n "$ZSH_VERSION" ]; then autoload -Uz bashcompinit && bashcompinit; fi
_neoseg() {{
    local word="${{COMP_LINE:0:$COMP_POINT}}"; word="${{word##* }}"
    local line="${{COMP_LINE#* }}" found="" one words
    if [ "$COMP_CWORD" -eq 1 ]; then
        found="{commands}"
    else
        case " {composed} " in
            *" ${{line%% *}} "*)
                found=$(COMP_LINE="neoseg ${{line#* }}" \\
                    neoseg "${{line%% *}}" -sc query=bash 2>/dev/null) ;;
        esac
    fi
    local before="" # bash replaces what follows the last = alone
    case "$COMP_WORDBREAKS" in *=*) before="${{word%"${{word##*=}}"}}" ;; esac
    COMPREPLY=() words=() # not by compgen -W, which would run commands in names of files
    if [ -n "$ZSH_VERSION" ]; then words=(${{=found}}); else read -r -a words <<< "$found"; fi
    for one in "${{words[@]}}"; do
        case "$one" in "$word"*) COMPREPLY+=("${{one#"$before"}}") ;; esac
    done
}}
complete -o nospace -o default -F _neoseg neoseg
"""


def main() -> None:
    """Print the script for the shell to evaluate."""
    composed = " ".join(composed_commands())
    print(SCRIPT.format(commands=" ".join(commands()), composed=composed), end="")


if __name__ == "__main__":
    main()
