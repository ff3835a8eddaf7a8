"""The `sampan` command: `up`, `node` and `bench`."""

import sys
from collections.abc import Sequence

from .config import streams

USAGE = """\
usage: sampan COMMAND [OPTIONS]

  up       start a local cluster and show its state
  node     start one node of a cluster
  bench    generate load, or compare with etcd
  version  print the version

`sampan COMMAND --help` tells more. The shell client is `sampanctl`.
"""


INTERRUPTED = 130
"""As shells have it: 128 and the number of the signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    streams.open_closed()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("sampan: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    if sys.flags.optimize:
        print(
            "sampan: refuses to run under python -O: it relies on its assertions", file=sys.stderr
        )
        return 1
    command = arguments[0] if arguments else "help"
    if command in ("up", "node"):
        from .hosts import command as commands

        return commands.main(arguments)
    if command == "bench":
        from .bench.main import main as bench

        return bench(arguments[1:])
    if command in ("version", "--version"):
        from . import __version__

        return _say(f"sampan {__version__}\n")
    if command in ("help", "--help", "-h"):
        return _say(USAGE)
    print(USAGE, end="", file=sys.stderr)
    return 2


def _say(text: str) -> int:
    try:
        print(text, end="", flush=True)
    except OSError as error:
        streams.give_up(sys.stdout)
        print(f"sampan: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
