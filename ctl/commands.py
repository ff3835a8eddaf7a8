"""What each command does: etcdctl's checks in etcdctl's order, then calls of the client."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn, TypeVar

from .. import __version__
from ..client import errors
from ..client.ops import DeleteOptions, PutOptions, RangeOptions
from . import gofmt
from .credentials import credentials
from .flags import bool_flag, int_flag, string_flag
from .gofmt import GoError
from .printers import PRINTERS, FieldsPrinter, Health, Printer, SimplePrinter, Unsupported

if TYPE_CHECKING:
    from ..client.aio import AsyncClient
    from ..client.sync import Client

Made = TypeVar("Made")

EXIT_ERROR = 1
EXIT_BAD_CONNECTION = 2
EXIT_INVALID_INPUT = 3
EXIT_BAD_FEATURE = 4
EXIT_BAD_ARGUMENTS = 128
"""etcdctl's exit codes (`pkg/cobrautl/error.go`)."""

API_VERSION = "3.5"
"""The etcd whose commands these are."""


class CommandError(Exception):
    """A command that ends with `Error: text` and an exit code; no text when all has been told."""

    def __init__(self, text: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Run(NamedTuple):
    """One run of a command: its flags' values, its arguments, its streams."""

    flags: dict[str, Any]
    args: list[str]
    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    raw: Sequence[str] = ()
    """Arguments and flags as they were given, with `--`."""

    def printer(self) -> Printer:
        """The printer for `--write-out`."""
        make = PRINTERS.get(self.flags["write-out"])
        if make is None:
            raise CommandError("unsupported output format", EXIT_BAD_FEATURE)
        return make(self.stdout, self.stderr, self.flags["hex"])

    def client(self, endpoints: Sequence[str] | None = None) -> "Client":
        """A client of `endpoints`, else of `--endpoints`."""
        from ..client.sync import Client  # not imported by commands that need no cluster

        return self._made(Client, self.flags["endpoints"] if endpoints is None else endpoints)

    def async_client(self) -> "AsyncClient":
        """A client of `--endpoints` for one event loop."""
        from ..client.aio import AsyncClient

        return self._made(AsyncClient, self.flags["endpoints"])

    def _made(self, make: Callable[..., Made], endpoints: Sequence[str]) -> Made:
        self._refuse_what_is_not_there()
        if not endpoints:
            raise CommandError("etcdclient: no available endpoints", EXIT_BAD_CONNECTION)
        try:
            timeout_s = max(0.0, self.flags["command-timeout"])
            return make(endpoints, timeout_s=timeout_s, **credentials(self.flags))
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _refuse_what_is_not_there(self) -> None:
        """Flags that would protect the connection must not be passed over in silence."""
        flags = self.flags
        for name in ("cacert", "cert", "key"):
            if flags[name]:
                bad_arguments(f"--{name} is not supported")
        if not flags["insecure-transport"]:
            bad_arguments("--insecure-transport=false is not supported")


def bad_arguments(text: str) -> NoReturn:
    """Arguments that do not fit the command."""
    raise CommandError(text, EXIT_BAD_ARGUMENTS)


def _key(text: str) -> bytes:
    return os.fsencode(text)


def describe(error: errors.SampanError) -> str:
    """The error in etcdctl's words, and why where no endpoint could be reached: it has log lines
    for that."""
    if not error.timed_out:
        return error.text
    return "context deadline exceeded" + (f": {error.tried}" if error.tried else "")


def report(error: Exception, stderr: BinaryIO) -> int:
    """Say why a command ends, if anything is left to say; returns its exit code."""
    text = describe(error) if isinstance(error, errors.SampanError) else str(error)
    if text:
        stderr.write(os.fsencode(f"Error: {text}\n"))
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, errors.WrongPasswordError):
        return EXIT_BAD_CONNECTION
    return EXIT_BAD_FEATURE if isinstance(error, Unsupported) else EXIT_ERROR


# ---- put, get, del ------------------------------------------------------------------------------

PUT_FLAGS = (
    bool_flag("ignore-lease", "keep the key's lease"),
    bool_flag("ignore-value", "keep the key's value"),
    string_flag("lease", "id of the lease to attach the key to, in hexadecimal", "0"),
    bool_flag("prev-kv", "print what the put replaced"),
    bool_flag("trace", "print its way through the nodes"),
)


def put(run: Run) -> None:
    """`put <key> [value]`."""
    key, value, options = put_call(run.flags, run.args, run.stdin)
    printer = run.printer()
    with run.client() as client:
        began = time.monotonic()
        response = client.put(key, value, **options)
        ended = time.monotonic()
    printer.put(response)
    if run.flags["trace"]:
        from . import trace  # hardly ever asked for

        trace.show(run, response.header.revision, (began, ended))


def put_call(
    flags: dict[str, Any], args: list[str], stdin: BinaryIO
) -> tuple[bytes, bytes, PutOptions]:
    """(key, value, options) of a put's command line."""
    usage = "put command needs 1 argument and input from stdin or 2 arguments"
    if not args:
        bad_arguments(usage)
    if flags["ignore-value"] and len(args) > 1:
        bad_arguments("put command needs only 1 argument when 'ignore-value' is set")
    value = b""
    if not flags["ignore-value"]:
        value = _key(args[1]) if len(args) > 1 else stdin.read()
        if len(args) < 2 and not value:
            bad_arguments(usage)
    try:
        lease = gofmt.parse_int(flags["lease"], 16)
    except GoError as error:
        bad_arguments(f"bad lease ID ({error}), expecting ID in Hex")
    options: PutOptions = {
        "lease": lease % 2**64,  # no negative one is found; etcdctl sends it, too
        "prev_kv": flags["prev-kv"],
        "ignore_value": flags["ignore-value"],
        "ignore_lease": flags["ignore-lease"],
    }
    return _key(args[0]), value, options


RANGE_FLAGS = (
    bool_flag("prefix", "every key that begins with the key"),
    bool_flag("from-key", "every key at or after the key, in byte order"),
)
GET_FLAGS = (
    string_flag("consistency", "linearizable (l) or serializable (s)", "l"),
    bool_flag("count-only", "only count the keys"),
    bool_flag("keys-only", "leave the values out"),
    int_flag("limit", "at most so many results"),
    string_flag("order", "ASCEND or DESCEND"),
    bool_flag("print-value-only", "only print values, in the simple format"),
    int_flag("rev", "as of this revision"),
    string_flag("sort-by", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    *RANGE_FLAGS,
)
_SORT_TARGETS = {"": None, "CREATE": "create", "KEY": "key", "MODIFY": "mod"}
_SORT_TARGETS |= {"VALUE": "value", "VERSION": "version"}
_SORT_ORDERS = {"": None, "ASCEND": "ascend", "DESCEND": "descend"}


def get(run: Run) -> None:
    """`get <key> [range_end]`."""
    flags = run.flags
    key, options = get_call(flags, run.args)
    printer = run.printer()
    with run.client() as client:
        response = client.get(key, serializable=flags["consistency"] == "s", **options)
    if flags["count-only"] and not isinstance(printer, FieldsPrinter):
        bad_arguments("--count-only is only for `--write-out=fields`")
    if flags["print-value-only"]:
        if not isinstance(printer, SimplePrinter):
            bad_arguments("print-value-only is only for `--write-out=simple`")
        printer.value_only = True
    printer.range(response)


def get_call(flags: dict[str, Any], args: list[str]) -> tuple[bytes, RangeOptions]:
    """(key, options) of a get's command line."""
    if not args:
        bad_arguments("get command needs one argument as key and an optional argument as range_end")
    _one_of_prefix_and_from_key(flags)
    if flags["keys-only"] and flags["count-only"]:
        bad_arguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
    if flags["consistency"] not in ("l", "s"):
        consistency = gofmt.quote(os.fsencode(flags["consistency"]))
        raise CommandError(f"unknown consistency flag {consistency}", EXIT_BAD_FEATURE)
    range_end = _range_end(flags, args)
    order, target = flags["order"].upper(), flags["sort-by"].upper()
    if order not in _SORT_ORDERS:
        raise CommandError(f"bad sort order {flags['order']}", EXIT_BAD_FEATURE)
    if target not in _SORT_TARGETS:
        raise CommandError(f"bad sort target {flags['sort-by']}", EXIT_BAD_FEATURE)
    options: RangeOptions = {
        "range_end": range_end,
        "prefix": flags["prefix"],
        "from_key": flags["from-key"],
        "limit": max(0, flags["limit"]),
        "revision": max(0, flags["rev"]),
        "sort_by": _SORT_TARGETS[target],
        "sort_order": _SORT_ORDERS[order],
        "keys_only": flags["keys-only"],
        "count_only": flags["count-only"],
    }
    return _key(args[0]), options


DEL_FLAGS = (*RANGE_FLAGS, bool_flag("prev-kv", "print what was deleted"))


def delete(run: Run) -> None:
    """`del <key> [range_end]`."""
    key, options = delete_call(run.flags, run.args)
    printer = run.printer()
    with run.client() as client:
        response = client.delete(key, **options)
    printer.delete(response)


def delete_call(flags: dict[str, Any], args: list[str]) -> tuple[bytes, DeleteOptions]:
    """(key, options) of a del's command line."""
    if not 1 <= len(args) <= 2:
        bad_arguments("del command needs one argument as key and an optional argument as range_end")
    _one_of_prefix_and_from_key(flags)
    options: DeleteOptions = {
        "range_end": _range_end(flags, args),
        "prefix": flags["prefix"],
        "from_key": flags["from-key"],
        "prev_kv": flags["prev-kv"],
    }
    return _key(args[0]), options


def _one_of_prefix_and_from_key(flags: dict[str, Any]) -> None:
    if flags["prefix"] and flags["from-key"]:
        bad_arguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")


def _range_end(flags: dict[str, Any], args: list[str]) -> bytes | None:
    if len(args) == 1:
        return None
    if flags["prefix"] or flags["from-key"]:
        bad_arguments(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
        )
    return _key(args[1])


# ---- compaction

COMPACTION_FLAGS = (bool_flag("physical", "wait until the old revisions are gone"),)


def compaction(run: Run) -> None:
    """`compaction <revision>`."""
    if len(run.args) != 1:
        bad_arguments("compaction command needs 1 argument")
    try:
        revision = gofmt.parse_int(run.args[0], 10)
    except GoError as error:
        raise CommandError(str(error)) from error
    run.printer()
    with run.client() as client:
        client.compact(max(0, revision), physical=run.flags["physical"])
    run.stdout.write(f"compacted revision {revision}\n".encode())


# ---- endpoint, member, version ------------------------------------------------------------------

CLUSTER_FLAG = bool_flag("cluster", "ask the endpoints of all members")


def _endpoints(run: Run) -> list[str]:
    if not run.flags["cluster"]:
        return list(run.flags["endpoints"])
    try:
        with run.client() as client:
            members = client.member_list().members
    except errors.SampanError as error:
        text = "failed to fetch endpoints from etcd cluster member list: "
        raise CommandError(text + describe(error)) from error
    return [url for member in members for url in member.client_urls]


def endpoint_status(run: Run) -> None:
    """`endpoint status`: one after the other; one that does not answer is told on stderr."""
    printer = run.printer()
    statuses, failed = [], False
    for endpoint in _endpoints(run):
        try:
            with run.client([endpoint]) as client:
                statuses.append((endpoint, client.status()))
        except (errors.SampanError, CommandError) as error:
            failed = True
            text = describe(error) if isinstance(error, errors.SampanError) else str(error)
            line = f"Failed to get the status of endpoint {endpoint} ({text})\n"
            run.stderr.write(os.fsencode(line))
    printer.statuses(statuses)
    if failed:
        raise CommandError("")


def endpoint_health(run: Run) -> None:
    """`endpoint health`: all at the same time, a linearizable read each."""
    printer = run.printer()
    healths: list[Health] = []

    def check(endpoint: str) -> None:
        begun_ns = time.monotonic_ns()
        error = ""
        try:
            with run.client([endpoint]) as client:
                client.get(b"health")
                alarms = client.alarm_list().alarms
            if alarms:
                error = "Active Alarm(s): " + "".join(f"{alarm.name} " for alarm in alarms)
        except errors.SampanError as failure:
            error = describe(failure)
        except CommandError as failure:
            error = str(failure)
        healths.append(Health(endpoint, time.monotonic_ns() - begun_ns, error))

    threads = [threading.Thread(target=check, args=(each,)) for each in _endpoints(run)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    printer.health(healths)
    if not all(health.ok for health in healths):
        raise CommandError("unhealthy cluster")


HASH_KV_FLAGS = (int_flag("rev", "the revision to hash, 0 for the newest"),)


def endpoint_hash_kv(run: Run) -> None:
    """`endpoint hashkv`: one after the other; one that does not answer is told on stderr."""
    hashes, last_error = [], None
    for endpoint in _endpoints(run):
        try:
            with run.client([endpoint]) as client:
                hashes.append((endpoint, client.hash_kv(revision=max(0, run.flags["rev"]))))
        except (errors.SampanError, CommandError) as error:
            text = describe(error) if isinstance(error, errors.SampanError) else str(error)
            last_error = CommandError(text)
            line = f"Failed to get the hash of endpoint {endpoint} ({text})\n"
            run.stderr.write(os.fsencode(line))
    run.printer().hashes(hashes)
    if last_error is not None:
        raise last_error


DEFRAG_FLAGS = (CLUSTER_FLAG, string_flag("data-dir", "not supported: it needs no stop"))


def defrag(run: Run) -> None:
    """`defrag`: one member after the other."""
    if run.flags["data-dir"]:
        bad_arguments("--data-dir is not supported: ask the running member, which goes on serving")
    failed = False
    for endpoint in _endpoints(run):
        try:
            with run.client([endpoint]) as client:
                client.defragment(timeout_s=run.flags["command-timeout"])
        except (errors.SampanError, CommandError) as error:
            failed = True
            text = describe(error) if isinstance(error, errors.SampanError) else str(error)
            line = f"Failed to defragment etcd member[{endpoint}] ({text})\n"
            run.stderr.write(os.fsencode(line))
        else:
            run.stdout.write(os.fsencode(f"Finished defragmenting etcd member[{endpoint}]\n"))
    if failed:
        raise CommandError("")


def member_list(run: Run) -> None:
    """`member list`."""
    printer = run.printer()
    with run.client() as client:
        response = client.member_list()
    printer.members(response)


def version(run: Run) -> None:
    """`version`, whatever the arguments."""
    run.stdout.write(f"sampanctl version: {__version__}\nAPI version: {API_VERSION}\n".encode())
