"""The `sampanctl` command: etcdctl's command line for a Sampan cluster. See docs/sampanctl.md."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from ..client.errors import SampanError
from ..config import discovery, streams
from .commands import EXIT_ERROR, CommandError, Run, report
from .flags import HELP, Flag, FlagSet, UsageError, from_environment
from .gofmt import backquote, quote
from .help import help_text
from .printers import Unsupported
from .table import COMMANDS, FOREIGN, GLOBAL_FLAGS, OURS_ALONE, ROOT, Command

_TREE = {command.path: command for command in COMMANDS} | {(): ROOT}


def inherited_flags(command: Command) -> tuple[Flag, ...]:
    """Global flags and those of the commands above."""
    above = [_TREE[command.path[:depth]] for depth in range(len(command.path))]
    return GLOBAL_FLAGS + tuple(flag for each in above for flag in each.persistent_flags)


def _flag_set(command: Command) -> FlagSet:
    own = command.flags + command.persistent_flags
    return FlagSet((HELP, *own, *inherited_flags(command)))


def find(args: Sequence[str]) -> tuple[Command, list[str]]:
    """(command, its arguments and flags), as cobra's `Command.Find`."""
    command, rest = ROOT, list(args)
    while True:
        words = _flag_set(command).strip(rest)
        below = _TREE.get((*command.path, _whole_name(command, words[0]))) if words else None
        if below is None:
            return command, rest
        rest.remove(words[0])
        command = below


def _whole_name(command: Command, word: str) -> str:
    """The name of the command under `command` that `word` is, or is the beginning of, if of no
    other (cobra's `findNext` with EnablePrefixMatching); else the word."""
    own = {path[-1] for path in _TREE if path and path[:-1] == command.path}
    names = own | FOREIGN.get(command.path, frozenset())
    found = [name for name in names - OURS_ALONE if name.startswith(word)]
    return found[0] if len(found) == 1 and word not in names else word


def _unknown_command(above: Command, word: str, stderr: BinaryIO) -> int:
    """Also below a command that groups others, where etcdctl shows its help and exits with 0: a
    script must not take what was never done for done."""
    name = " ".join(("sampanctl", *above.path))
    error = f'Error: unknown command {quote(os.fsencode(word))} for "{name}"\n'
    if close := _close_names(above, word):
        error += "\nDid you mean this?\n" + "".join(f"\t{each}\n" for each in close) + "\n"
    stderr.write(os.fsencode(f"{error}Run '{name} --help' for usage.\n{error}"))
    return EXIT_ERROR


def _close_names(above: Command, word: str) -> list[str]:
    """What may have been meant (cobra's `SuggestionsFor`): two letters off, or cut short."""
    names = sorted(each.path[-1] for each in COMMANDS if each.path[:-1] == above.path)
    lower = word.lower()
    typed = os.fsencode(lower)
    return [
        name for name in names if name.startswith(lower) or _distance(typed, name.encode()) <= 2
    ]


def _distance(one: bytes, other: bytes) -> int:
    """How many bytes to change, add or drop (Levenshtein)."""
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, theirs in enumerate(other):
            change = before[column] + (letter != theirs)
            now.append(min(change, before[column + 1] + 1, now[column] + 1))
        before = now
    return before[-1]


def _help_command(args: Sequence[str], stdout: BinaryIO, stderr: BinaryIO) -> int:
    """`help [command]`."""
    command, rest = find(args)
    unknown = bool(rest) and command.run is None
    if unknown:
        topic = " ".join(backquote(os.fsencode(word)) for word in rest)
        stderr.write(os.fsencode(f"Unknown help topic [{topic}]\n"))
    stdout.write(help_text(command, inherited_flags(command)).encode())
    return EXIT_ERROR if unknown else 0


def run(args: Sequence[str], stdin: BinaryIO, stdout: BinaryIO, stderr: BinaryIO) -> int:
    """Run one command line; returns the exit code."""
    command, rest = find(args)
    flag_set = _flag_set(command)
    words = flag_set.strip(rest)
    if command is ROOT and words and _whole_name(ROOT, words[0]) == "help":
        return _help_command(words[1:], stdout, stderr)
    if command is ROOT and words:
        return _unknown_command(ROOT, words[0], stderr)
    usage = help_text(command, inherited_flags(command)).encode()
    try:
        given, arguments = flag_set.parse(rest)
    except UsageError as error:
        stdout.write(usage)
        stderr.write(os.fsencode(f"Error: {error}\n\nError: {error}\n"))
        return EXIT_ERROR
    if command.run is None and arguments and not given.get("help"):
        return _unknown_command(command, arguments[0], stderr)
    if given.get("help") or command.run is None:
        stdout.write(usage)
        return 0
    try:
        values = {flag.name: flag.default for flag in flag_set.flags.values()} | given
        values |= from_environment(inherited_flags(command), given, os.environ)
        if values["discovery-srv"]:
            values["endpoints"] = _discovered(values)
        command.run(Run(values, arguments, stdin, stdout, stderr, rest))
    except (CommandError, UsageError, Unsupported, SampanError) as error:
        return report(error, stderr)
    return 0


def _discovered(values: Mapping[str, Any]) -> list[str]:
    """The endpoints that DNS lists."""
    suffix = values["discovery-srv-name"]
    service = f"sampan-client-{suffix}" if suffix else "sampan-client"
    try:
        return discovery.servers(service, values["discovery-srv"])
    except discovery.DiscoveryError as error:
        raise CommandError(str(error)) from error


def main() -> int:
    """Entry point."""
    streams.open_closed()
    try:
        exit_code = run(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer, sys.stderr.buffer)
        sys.stdout.flush()
        return exit_code
    except OSError as error:
        streams.give_up(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a full disk, say
            report(CommandError(error.strerror or str(error)), sys.stderr.buffer)
        return EXIT_ERROR
    except KeyboardInterrupt:
        # End as by the signal, as etcdctl does: a shell's loop around this ends as well.
        import signal  # for this alone

        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
