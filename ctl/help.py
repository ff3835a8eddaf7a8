"""Help texts, laid out as etcdctl's: name, usage, commands, options."""

from collections.abc import Sequence
from typing import Any

from .commands import API_VERSION
from .flags import HELP, Flag
from .table import COMMANDS, ROOT, Command


def _default(flag: Flag) -> str:
    value: Any = flag.default
    if flag.is_bool:
        return f"[={'true' if value else 'false'}]"
    if isinstance(value, str):
        return f'="{value}"'
    if isinstance(value, float):
        return f"={value:g}s"
    if isinstance(value, list):
        return f"=[{','.join(value)}]"
    return f"={value}"


def _flags(title: str, flags: Sequence[Flag]) -> str:
    names = [
        f"  {f'-{flag.shorthand}, ' if flag.shorthand else '    '}--{flag.name}{_default(flag)}"
        for flag in sorted(flags)
    ]
    width = max(map(len, names)) + 2
    helps = [flag.help for flag in sorted(flags)]
    lines = [f"{name:<{width}}{text}" for name, text in zip(names, helps, strict=True)]
    return f"{title}:\n" + "\n".join(lines) + "\n"


def _commands(command: Command) -> str:
    if command is ROOT:
        below = [each for each in COMMANDS if each.run is not None]
    else:
        below = [each for each in COMMANDS if each.path[:-1] == command.path]
    names = [" ".join(each.path[len(command.path) :]) for each in below]
    lines = [f"\t{name:<18}{each.summary}" for name, each in zip(names, below, strict=True)]
    return "COMMANDS:\n" + "\n".join(sorted(lines)) + "\n"


def help_text(command: Command, inherited: Sequence[Flag]) -> str:
    """What `--help` prints."""
    name = " ".join(command.path) or "sampanctl"
    parts = [f"NAME:\n\t{name} - {command.summary}\n"]
    parts.append(f"USAGE:\n\tsampanctl {command.usage}{'' if command is ROOT else ' [flags]'}\n")
    if command.description:
        text = command.description.replace("\n", "\n\t")
        parts.append(f"DESCRIPTION:\n\t{text}\n")
    if command.run is None:
        parts += [f"API VERSION:\n\t{API_VERSION}\n", _commands(command)]
    own = (HELP, *command.flags, *command.persistent_flags)
    parts.append(_flags("OPTIONS", (*own, *inherited) if command is ROOT else own))
    if command is not ROOT:
        parts.append(_flags("GLOBAL OPTIONS", inherited))
    return "\n".join(parts) + "\n"
