"""Scripts that let a shell complete a program's commands and flags.

A program is a table: what may follow the commands typed so far, as ("member",) -> ["list", …].
"""

import argparse
from collections.abc import Mapping, Sequence

SHELLS = ("bash", "zsh", "fish")
Words = Mapping[tuple[str, ...], Sequence[str]]

_BASH = """\
_%(name)s() {
    local path="" word words=""
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
            %(paths)s) path="$path $word" ;;
        esac
    done
    case "$path" in
%(cases)s
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _%(name)s %(name)s
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_FISH = """\
function __%(name)s_at
    set -l path ""
    for word in (commandline -opc)[2..-1]
        if contains -- "$path $word" %(paths)s
            set path "$path $word"
        end
    end
    test "$path" = "$argv[1]"
end
%(cases)s
"""


def script(shell: str, name: str, words: Words) -> str:
    """What the shell is to run: `source <(NAME completion bash)`. Raises KeyError for one that is
    not in SHELLS."""
    typed = {"".join(f" {word}" for word in path): list(then) for path, then in words.items()}
    deeper = [path for path in typed if path]
    if shell == "fish":
        cases = [
            f"complete -c {name} -n '__{name}_at \"{path}\"' -a '{' '.join(then)}'"
            for path, then in typed.items()
        ]
        return _FISH % {
            "name": name,
            "paths": " ".join(f'"{path}"' for path in deeper),
            "cases": "\n".join(cases),
        }
    text = _BASH % {
        "name": name,
        "paths": "|".join(f'"{path}"' for path in deeper),
        "cases": "\n".join(
            f'        "{path}") words="{" ".join(typed[path])}" ;;' for path in typed
        ),
    }
    return {"bash": "", "zsh": _ZSH}[shell] + text


def words_of(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Words:
    """The words of an argparse parser, reached by `path`, and of the commands below it."""
    found: dict[tuple[str, ...], Sequence[str]] = {}
    then: list[str] = []
    for action in parser._actions:
        then += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            then += action.choices
            for name, below in action.choices.items():
                found |= words_of(below, (*path, name))
    return found | {path: then}
