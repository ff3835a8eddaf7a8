"""`watch`: prints events as they come, or runs a command for each of them."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..client.errors import ClientClosedError, SampanError, WatchCompactedError
from . import gofmt
from .commands import EXIT_ERROR, EXIT_INVALID_INPUT, CommandError, Run, bad_arguments, report
from .flags import HELP, FlagSet, UsageError, bool_flag, int_flag
from .printers import Unsupported
from .txn import split_words

if TYPE_CHECKING:
    from ..client.sync import Client
    from ..client.watch import WatchEvent, WatchResponse
    from ..client.watch_sync import SyncWatch
    from .printers import Printer

EXIT_INTERRUPTED = 5
FOREVER_S = 365 * 24 * 3600.0
"""etcdctl waits for a node without end."""

FLAGS = (
    bool_flag("interactive", "read watch and progress lines from standard input", shorthand="i"),
    bool_flag("prefix", "every key that begins with the key"),
    bool_flag("prev-kv", "print what was there before"),
    bool_flag("progress-notify", "print now and then how far the watch is"),
    int_flag("rev", "begin at this revision"),
)

BAD_NUMBER = "bad number of arguments"


class Call(NamedTuple):
    """One watch's command line: what to watch and what to run for each event."""

    args: list[str]
    flags: Mapping[str, Any]
    command: list[str]


def run(run: Run) -> None:
    """`watch [key] [range_end] [-- command …]`."""
    env_key, env_end = _environment()
    if run.flags["interactive"]:
        _interactive(run, env_key, env_end)
        return
    call = parse(run.args, run.raw, env_key, env_end)._replace(flags=run.flags)
    printer = run.printer()
    with run.client() as client:
        Printing(run, printer, threading.Lock()).all_of(_begin(client, call, run.flags), call)
    raise CommandError("watch is canceled by the server", EXIT_INTERRUPTED)


def _environment() -> tuple[str, str]:
    key, end = (os.environ.get(f"ETCDCTL_WATCH_{name}", "") for name in ("KEY", "RANGE_END"))
    if end and not key:
        quoted = gofmt.quote(os.fsencode(end))
        bad_arguments(f"ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={quoted}")
    return key, end


def parse(args: Sequence[str], raw: Sequence[str], env_key: str, env_end: str) -> Call:
    """What to watch and to run, as etcdctl's `parseWatchArgs`; no flags are set in the result.

    Args:
        args: without flags and without `--`.
        raw: with both.
        env_key, env_end: key and range end from the environment, which go before `args`.
    """
    separator = raw.index("--") if "--" in raw else None
    if separator == len(raw) - 1:
        bad_arguments(f"{BAD_NUMBER} (found separator --, but no commands)")
    if env_key and _conflicts(args, raw, separator):
        bad_arguments(f"{BAD_NUMBER} (found conflicting environment key)")
    words = [*filter(None, (env_key, env_end)), *args] if env_key else list(args)
    command = [] if separator is None else list(raw[separator + 1 :])
    if command:
        last = max(i for i, word in enumerate(words) if word == command[0])
        words = words[:last]
    if not words:
        bad_arguments(BAD_NUMBER)
    return Call(words, {}, command)


def _conflicts(args: Sequence[str], raw: Sequence[str], separator: int | None) -> bool:
    """Whether there is a key on the command line, too."""
    return len(args) > (0 if separator is None else len(raw) - separator - 1)


def _begin(client: "Client", call: Call, flags: Mapping[str, Any]) -> "SyncWatch":
    ranged = len(call.args) == 2
    if ranged and call.flags["prefix"]:
        bad_arguments("`range_end` and `--prefix` are mutually exclusive")
    return client.watch(
        os.fsencode(call.args[0]),
        range_end=os.fsencode(call.args[1]) if ranged else None,
        prefix=call.flags["prefix"],
        start_revision=max(0, call.flags["rev"]),
        prev_kv=call.flags["prev-kv"],
        progress_notify=flags["progress-notify"],
        timeout_s=FOREVER_S,
    )


class Printing(NamedTuple):
    """Where watches print."""

    run: Run
    printer: "Printer"
    lock: threading.Lock

    def all_of(self, watch: "SyncWatch", call: Call) -> None:
        """Print a watch to its end."""
        try:
            for response in watch:
                with self.lock:
                    self._response(response, call)
        except WatchCompactedError as error:
            with self.lock:
                self._canceled(error.text)
                self.printer.watch_canceled(error.header, error.compact_revision)
                self.run.stdout.flush()
        except ClientClosedError:
            return  # the command is over
        except SampanError as error:
            with self.lock:
                self._canceled(error.text)

    def all_or_end(self, watch: "SyncWatch", call: Call) -> None:
        """As `all_of`, in a thread beside the one that reads lines: what goes wrong ends the
        command, as etcdctl does, though that one is reading."""
        try:
            self.all_of(watch, call)
        except (CommandError, Unsupported) as error:
            code = report(error, self.run.stderr)
            self.run.stdout.flush()
            self.run.stderr.flush()
            os._exit(code)

    def _canceled(self, reason: str) -> None:
        self.run.stderr.write(f"watch was canceled ({reason})\n".encode())
        self.run.stderr.flush()

    def _response(self, response: "WatchResponse", call: Call) -> None:
        if response.is_progress:
            self.printer.line(f"progress notify: {response.header.revision}")
        self.printer.watch(response)
        self.run.stdout.flush()
        if call.command:
            for event in response.events:
                self._execute(call.command, response.header.revision, event)

    def _execute(self, command: list[str], revision: int, event: "WatchEvent") -> None:
        import subprocess  # other commands start faster without it

        environ = os.environ | {
            "ETCD_WATCH_REVISION": str(revision),
            "ETCD_WATCH_EVENT_TYPE": gofmt.quote(event.type.encode()),
            "ETCD_WATCH_KEY": gofmt.quote(event.kv.key),
            "ETCD_WATCH_VALUE": gofmt.quote(event.kv.value),
        }
        try:
            ran = subprocess.run(command, env=environ, capture_output=True, check=False)
        except OSError as error:
            missing = f'exec: "{command[0]}": executable file not found in $PATH'
            self._failed(command, missing if isinstance(error, FileNotFoundError) else str(error))
        self.run.stdout.write(ran.stdout)
        self.run.stdout.flush()
        self.run.stderr.write(ran.stderr)
        if ran.returncode:
            self._failed(command, f"exit status {ran.returncode}")

    def _failed(self, command: list[str], reason: str) -> None:
        line = f"command {gofmt.strings_quoted(command)} error ({reason})\n"
        self.run.stderr.write(line.encode())
        raise CommandError("", EXIT_ERROR)


def _interactive(run: Run, env_key: str, env_end: str) -> None:
    """Lines of standard input: `watch …` as the command itself, or `progress`."""
    printing = Printing(run, run.printer(), threading.Lock())
    watches: list[SyncWatch] = []
    with run.client() as client:
        while True:
            line = os.fsdecode(run.stdin.readline())
            if not line.endswith("\n"):
                raise CommandError("error reading watch request line: EOF", EXIT_INVALID_INPUT)
            line = line.removesuffix("\n")
            words = split_words(line)
            if not words:
                _complain(run, f"Invalid command: {line} (watch and progress supported)")
            elif words[0] == "progress":
                for watch in watches:
                    watch.request_progress()
            elif words[0] != "watch":
                _complain(run, f"Invalid command {line} (only support watch)")
            elif len(words) == 1 and not env_key:
                _complain(run, f"Invalid command {line} (command type or key is not provided)")
            else:
                call = _line(words[1:], env_key, env_end)
                try:
                    watch = _begin(client, call, run.flags)
                except CommandError as error:
                    _complain(run, f"Invalid command {line} ({error})")
                    continue
                watches.append(watch)
                thread = threading.Thread(target=printing.all_or_end, args=(watch, call))
                thread.daemon = True
                thread.start()


def _complain(run: Run, text: str) -> None:
    run.stderr.write(os.fsencode(f"{text}\n"))
    run.stderr.flush()


def _line(words: list[str], env_key: str, env_end: str) -> Call:
    flag_set = FlagSet((HELP, *FLAGS))
    try:
        given, args = flag_set.parse(words)
    except UsageError as error:
        bad_arguments(str(error))
    if given.get("help"):
        bad_arguments("pflag: help requested")
    flags = {flag.name: flag.default for flag in FLAGS} | given
    return parse(args, words, env_key, env_end)._replace(flags=flags)
