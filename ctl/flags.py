"""Command lines as cobra and pflag read them: what is a command, what a flag, what a flag's value.

Flags may stand before and after commands and arguments; `--flag=value`, `--flag value`, `-f value`,
`-fvalue` and `-f=value` are the same; a bool flag takes its value only after `=`; `--` ends them.
The rules and the words of the errors are those of spf13/cobra 1.1 (`Command.Find`, `stripFlags`)
and spf13/pflag 1.0 (`FlagSet.parseArgs`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import gofmt
from .gofmt import GoError


class UsageError(Exception):
    """A command line that is wrong: the help is shown, and this text."""


class Flag(NamedTuple):
    """One flag.

    Attributes:
        name: without dashes.
        default: its value when absent; also tells its type.
        help: one line.
        parse: text to value.
        shorthand: one letter, or none.
    """

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str
    shorthand: str = ""

    @property
    def is_bool(self) -> bool:
        """Whether it needs no value."""
        return self.parse is gofmt.parse_bool


def bool_flag(name: str, text: str, default: bool = False, shorthand: str = "") -> Flag:
    """A flag that is there or not."""
    return Flag(name, default, text, gofmt.parse_bool, shorthand)


def int_flag(name: str, text: str) -> Flag:
    """A 64-bit number, 0 when absent."""
    return Flag(name, 0, text, gofmt.parse_int)


def string_flag(name: str, text: str, default: str = "", shorthand: str = "") -> Flag:
    """Any text."""
    return Flag(name, default, text, str, shorthand)


def list_flag(name: str, text: str, default: list[str]) -> Flag:
    """Texts with commas between them; giving it again adds to it."""
    return Flag(name, default, text, _parse_list)


def _parse_list(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",") if text else []
    import csv  # for what hardly anybody writes

    return next(csv.reader([text]))


HELP = bool_flag("help", "show this help", shorthand="h")


class FlagSet:
    """The flags that one command knows, its own and inherited ones."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self.flags = {flag.name: flag for flag in flags}
        self._shorthands = {flag.shorthand: flag for flag in flags if flag.shorthand}

    def strip(self, args: Sequence[str]) -> list[str]:
        """What is left of `args` without flags and their values (cobra's `stripFlags`)."""
        left, rest = [], list(args)
        while rest:
            arg = rest.pop(0)
            if arg == "--":
                break
            if self._takes_next(arg):
                if len(rest) <= 1:
                    break
                rest.pop(0)
            elif arg and not arg.startswith("-"):
                left.append(arg)
        return left

    def _takes_next(self, arg: str) -> bool:
        if "=" in arg:
            return False
        if arg.startswith("--"):
            flag = self.flags.get(arg[2:])
        elif arg.startswith("-") and len(arg) == 2:
            flag = self._shorthands.get(arg[1])
        else:
            return False
        return flag is None or not flag.is_bool

    def parse(self, args: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """(values of the flags that were given, arguments).

        Raises:
            UsageError: an unknown flag, a missing or a wrong value.
        """
        given: dict[str, Any] = {}
        arguments: list[str] = []
        rest = list(args)
        while rest:
            arg = rest.pop(0)
            if arg == "--":
                return given, arguments + rest
            if arg.startswith("--"):
                self._parse_long(arg, rest, given)
            elif arg.startswith("-") and arg != "-":
                self._parse_short(arg, rest, given)
            else:
                arguments.append(arg)
        return given, arguments

    def _parse_long(self, arg: str, rest: list[str], given: dict[str, Any]) -> None:
        name, equals, value = arg[2:].partition("=")
        if not name or name[0] == "-":
            raise UsageError(f"bad flag syntax: {arg}")
        flag = self.flags.get(name)
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.is_bool:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: {arg}")
        _set(flag, value, given)

    def _parse_short(self, arg: str, rest: list[str], given: dict[str, Any]) -> None:
        letters = arg[1:]
        while letters:
            letter, tail = letters[0], letters[1:]
            flag = self._shorthands.get(letter)
            if flag is None:
                quoted = gofmt.quote_byte(os.fsencode(letters)[0])
                raise UsageError(f"unknown shorthand flag: {quoted} in -{letters}")
            letters = ""
            if len(tail) > 1 and tail[0] == "=":
                value = tail[1:]
            elif flag.is_bool:
                value, letters = "true", tail
            elif tail:
                value = tail
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: {letter!r} in -{arg[1:]}")
            _set(flag, value, given)


def _set(flag: Flag, text: str, given: dict[str, Any]) -> None:
    try:
        value = flag.parse(text)
    except GoError as error:
        name = f"-{flag.shorthand}, --{flag.name}" if flag.shorthand else f"--{flag.name}"
        quoted = gofmt.quote(os.fsencode(text))
        raise UsageError(f'invalid argument {quoted} for "{name}" flag: {error}') from None
    given[flag.name] = given.get(flag.name, []) + value if isinstance(value, list) else value


def environment_name(prefix: str, flag: Flag) -> str:
    """`ETCDCTL_WRITE_OUT` of `write-out`."""
    return f"{prefix}_{flag.name.upper().replace('-', '_')}"


def from_environment(
    flags: Sequence[Flag], given: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Values of the flags that are not given and stand in `SAMPANCTL_*`, else in `ETCDCTL_*`.

    As in etcdctl a variable that does not parse is passed over.

    Raises:
        UsageError: an `ETCDCTL_*` variable and its flag are both there, which etcdctl refuses.
    """
    values = {}
    for flag in flags:
        own = environ.get(environment_name("SAMPANCTL", flag), "")
        name = environment_name("ETCDCTL", flag)
        theirs = environ.get(name, "")
        if flag.name in given:
            if name in environ:
                raise UsageError(f"{name} conflicts with --{flag.name}: unset one of them")
        elif own or theirs:
            try:
                values[flag.name] = flag.parse(own or theirs)
            except GoError:
                continue
    return values
