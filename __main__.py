"""The `sampan` command, and the door of `sampanctl`: find the subcommand, import nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path

USAGE = """\
usage: sampan COMMAND [OPTIONS]

  up          start a local cluster and show its state
  node        start one node of a cluster
  etcd        start one node as etcd is started, by its flags and variables
  keys        make and show keys of members and clients
  doctor      say what is wrong with a stopped member's data directory
  top         show a running cluster at work, in the terminal
  bench       generate load, or compare with etcd
  completion  print what a shell needs to complete commands: bash, zsh or fish
  docs        print a guide, or which ones there are
  version     print the version

`sampan COMMAND --help` tells more. The shell client is `sampanctl`.
"""
COMMANDS = (
    "up", "node", "etcd", "keys", "doctor", "top", "bench", "completion", "docs", "version", "help",
)  # fmt: skip

INTERRUPTED = 130
"""As shells have it: 128 and the number of the signal."""
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        from .config import streams  # here: Ctrl-C may come while it is imported

        streams.open_closed()
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("sampan: interrupted", file=sys.stderr)
        return INTERRUPTED


def control() -> int:
    """Entry point of `sampanctl`: Ctrl-C during its imports, most of a short command's time, is
    no reason for a traceback either."""
    try:
        from .ctl.main import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    if sys.flags.optimize:
        print(
            "sampan: refuses to run under python -O: it relies on its assertions", file=sys.stderr
        )
        return 1
    command = arguments[0] if arguments else ""
    if command in ("up", "node"):
        from .hosts import command as commands

        return commands.main(arguments)
    if command == "etcd":
        from .hosts import etcd_command

        return etcd_command.main(arguments[1:])
    if command == "keys":
        from .hosts import keys_command

        return keys_command.main(arguments[1:])
    if command == "doctor":
        from .hosts import doctor

        return doctor.main(arguments[1:])
    if command == "top":
        from .web import top

        return top.main(arguments[1:])
    if command == "bench":
        from .bench.main import main as bench

        return bench(arguments[1:])
    if command == "completion":
        return _completion(arguments[1:])
    if command == "docs":
        return _docs(arguments[1:])
    if command in ("version", "--version", "-V"):
        from . import __version__

        return _say(f"sampan {__version__}\n")
    if command in ("help", "--help", "-h", ""):
        return _say(USAGE)
    return _unknown(command)


def _completion(arguments: list[str]) -> int:
    """`completion bash|zsh|fish`."""
    from .bench.main import parser as bench
    from .config.completion import SHELLS, script, words_of
    from .hosts.command import parser as hosts
    from .hosts.doctor import parser as doctor
    from .hosts.keys_command import parser as keys
    from .web.top import parser as top

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        print(f"sampan: completion needs one shell: {', '.join(SHELLS)}", file=sys.stderr)
        return EXIT_USAGE
    words = {**words_of(hosts()), **words_of(bench(), ("bench",)), (): COMMANDS}
    words |= words_of(doctor(), ("doctor",))
    words |= words_of(top(), ("top",))
    words |= words_of(keys(), ("keys",))
    words |= {("completion",): SHELLS, ("docs",): sorted(_guides())}
    return _say(script(arguments[0], "sampan", words))


def _guides() -> dict[str, Path]:
    """The guides that came with the package, by name."""
    return {path.stem: path for path in Path(__file__).parent.joinpath("docs").glob("*.md")}


def _docs(arguments: list[str]) -> int:
    """`docs [NAME]`: the guides are installed with the program that they belong to."""
    guides = _guides()
    if not arguments:
        return _say("".join(f"{name:<14} {path}\n" for name, path in sorted(guides.items())))
    if len(arguments) > 1 or arguments[0] not in guides:
        print(f"sampan: docs has {', '.join(sorted(guides))}", file=sys.stderr)
        return EXIT_USAGE
    return _say(guides[arguments[0]].read_text(encoding="utf-8"))


def _unknown(word: str) -> int:
    """Say what was wrong, and what may have been meant."""
    import difflib  # for those who mistype

    from .ctl.table import COMMANDS as IN_SHELL

    there = [" ".join(("sampanctl", *each.path)) for each in IN_SHELL if each.path[-1:] == (word,)]
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    guesses = [f"sampan {name}" for name in close] or there
    kind = "option" if word.startswith("-") else "command"
    hint = f"; did you mean `{guesses[0]}`?" if guesses and kind == "command" else ""
    print(f"sampan: unknown {kind} {word!r}{hint}", file=sys.stderr)
    print("`sampan --help` lists the commands; the shell client is `sampanctl`.", file=sys.stderr)
    return EXIT_USAGE


def _say(text: str) -> int:
    from .config import streams

    try:
        print(text, end="", flush=True)
    except OSError as error:
        streams.give_up(sys.stdout)
        print(f"sampan: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
