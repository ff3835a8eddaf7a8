"""`completion`: what a shell needs to complete sampanctl's commands and flags."""

from ..config.completion import SHELLS, Words, script
from .commands import Run, bad_arguments
from .flags import HELP


def run(run: Run) -> None:
    """`completion bash|zsh|fish`."""
    if len(run.args) != 1 or run.args[0] not in SHELLS:
        bad_arguments(f"completion needs one shell: {', '.join(SHELLS)}")
    run.stdout.write(script(run.args[0], "sampanctl", _words()).encode())


def _words() -> Words:
    """What may follow each command."""
    from .table import COMMANDS, GLOBAL_FLAGS, ROOT  # here: the table holds this command

    everywhere = [f"--{flag.name}" for flag in (HELP, *GLOBAL_FLAGS)]
    words = {}
    for command in (ROOT, *COMMANDS):
        depth = len(command.path)
        below = [each.path[-1] for each in COMMANDS if each.path[:-1] == command.path]
        above = [each for each in COMMANDS if each.path == command.path[: len(each.path)]]
        flags = [*command.flags, *(flag for each in above for flag in each.persistent_flags)]
        own = [f"--{flag.name}" for flag in flags]
        words[command.path] = [*below, *(["help"] if depth == 0 else []), *own, *everywhere]
    return words
