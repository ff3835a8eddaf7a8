"""What each command does: etcdctl's checks in etcdctl's order, then calls of the client."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

from ... import __version__
from ...transport import errors as wire
from .. import errors
from . import gofmt
from .flags import Flag, bool_flag, int_flag, list_flag, string_flag
from .gofmt import GoError
from .printers import PRINTERS, FieldsPrinter, Health, Printer, SimplePrinter

if TYPE_CHECKING:
    from ..sync import Client

EXIT_ERROR = 1
EXIT_BAD_CONNECTION = 2
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

    def printer(self) -> Printer:
        """The printer for `--write-out`."""
        make = PRINTERS.get(self.flags["write-out"])
        if make is None:
            raise CommandError("unsupported output format", EXIT_BAD_FEATURE)
        return make(self.stdout, self.stderr, self.flags["hex"])

    def client(self, endpoints: Sequence[str] | None = None) -> "Client":
        """A client of `endpoints`, else of `--endpoints`."""
        from ..sync import Client  # not imported by commands that need no cluster

        self._refuse_what_is_not_there()
        endpoints = self.flags["endpoints"] if endpoints is None else endpoints
        if not endpoints:
            raise CommandError("etcdclient: no available endpoints", EXIT_BAD_CONNECTION)
        try:
            return Client(endpoints, timeout_s=max(0.0, self.flags["command-timeout"]))
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _refuse_what_is_not_there(self) -> None:
        """Flags that would protect the connection must not be passed over in silence."""
        flags = self.flags
        for name in ("cacert", "cert", "key", "discovery-srv"):
            if flags[name]:
                bad_arguments(f"--{name} is not supported")
        if not flags["insecure-transport"]:
            bad_arguments("--insecure-transport=false is not supported")
        if flags["user"]:
            self.stderr.write(b"warning: --user is ignored: authentication is not enabled\n")


class Command(NamedTuple):
    """One command. Without `run` it only groups others, and shows its help."""

    path: tuple[str, ...]
    summary: str
    usage: str = ""
    flags: tuple[Flag, ...] = ()
    run: Callable[[Run], None] | None = None
    persistent_flags: tuple[Flag, ...] = ()
    """Flags of it and of the commands under it."""
    description: str = ""


def bad_arguments(text: str) -> NoReturn:
    """Arguments that do not fit the command."""
    raise CommandError(text, EXIT_BAD_ARGUMENTS)


def _key(text: str) -> bytes:
    return os.fsencode(text)


def describe(error: errors.SampanError) -> str:
    """The error in etcdctl's words."""
    late = error.code == wire.DEADLINE_EXCEEDED
    return "context deadline exceeded" if late else error.text


# ---- put, get, del ------------------------------------------------------------------------------

PUT_FLAGS = (
    bool_flag("ignore-lease", "keep the key's lease"),
    bool_flag("ignore-value", "keep the key's value"),
    string_flag("lease", "id of the lease to attach the key to, in hexadecimal", "0"),
    bool_flag("prev-kv", "print what the put replaced"),
)


def put(run: Run) -> None:
    """`put <key> <value>`."""
    flags, args = run.flags, run.args
    usage = "put command needs 1 argument and input from stdin or 2 arguments"
    if not args:
        bad_arguments(usage)
    if flags["ignore-value"] and len(args) > 1:
        bad_arguments("put command needs only 1 argument when 'ignore-value' is set")
    value = b""
    if not flags["ignore-value"]:
        value = _key(args[1]) if len(args) > 1 else run.stdin.read()
        if len(args) < 2 and not value:
            bad_arguments(usage)
    try:
        lease = gofmt.parse_int(flags["lease"], 16)
    except GoError as error:
        bad_arguments(f"bad lease ID ({error}), expecting ID in Hex")
    if lease < 0:
        raise CommandError(wire.LEASE_NOT_FOUND.text)
    printer = run.printer()
    with run.client() as client:
        response = client.put(
            _key(args[0]),
            value,
            lease=lease,
            prev_kv=flags["prev-kv"],
            ignore_value=flags["ignore-value"],
            ignore_lease=flags["ignore-lease"],
        )
    printer.put(response)


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
    options = _get_options(flags, run.args)
    printer = run.printer()
    with run.client() as client:
        response = client.get(_key(run.args[0]), **options)
    if flags["count-only"] and not isinstance(printer, FieldsPrinter):
        bad_arguments("--count-only is only for `--write-out=fields`")
    if flags["print-value-only"]:
        if not isinstance(printer, SimplePrinter):
            bad_arguments("print-value-only is only for `--write-out=simple`")
        printer.value_only = True
    printer.range(response)


def _get_options(flags: dict[str, Any], args: list[str]) -> dict[str, Any]:
    if not args:
        bad_arguments("get command needs one argument as key and an optional argument as range_end")
    _one_of_prefix_and_from_key(flags)
    if flags["keys-only"] and flags["count-only"]:
        bad_arguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
    if flags["consistency"] not in ("l", "s"):
        consistency = gofmt.quote(flags["consistency"].encode())
        raise CommandError(f"unknown consistency flag {consistency}", EXIT_BAD_FEATURE)
    bounds = _bounds(flags, args)
    order, target = flags["order"].upper(), flags["sort-by"].upper()
    if order not in _SORT_ORDERS:
        raise CommandError(f"bad sort order {flags['order']}", EXIT_BAD_FEATURE)
    if target not in _SORT_TARGETS:
        raise CommandError(f"bad sort target {flags['sort-by']}", EXIT_BAD_FEATURE)
    return bounds | {
        "serializable": flags["consistency"] == "s",
        "limit": max(0, flags["limit"]),
        "revision": max(0, flags["rev"]),
        "sort_by": _SORT_TARGETS[target],
        "sort_order": _SORT_ORDERS[order],
        "keys_only": flags["keys-only"],
        "count_only": flags["count-only"],
    }


DEL_FLAGS = (*RANGE_FLAGS, bool_flag("prev-kv", "print what was deleted"))


def delete(run: Run) -> None:
    """`del <key> [range_end]`."""
    flags, args = run.flags, run.args
    if not 1 <= len(args) <= 2:
        bad_arguments("del command needs one argument as key and an optional argument as range_end")
    _one_of_prefix_and_from_key(flags)
    bounds = _bounds(flags, args)
    printer = run.printer()
    with run.client() as client:
        response = client.delete(_key(args[0]), **bounds, prev_kv=flags["prev-kv"])
    printer.delete(response)


def _one_of_prefix_and_from_key(flags: dict[str, Any]) -> None:
    if flags["prefix"] and flags["from-key"]:
        bad_arguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")


def _bounds(flags: dict[str, Any], args: list[str]) -> dict[str, Any]:
    prefix, from_key = flags["prefix"], flags["from-key"]
    if len(args) == 1:
        return {"prefix": prefix, "from_key": from_key}
    if prefix or from_key:
        bad_arguments(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
        )
    return {"range_end": _key(args[1])}


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
            run.stderr.write(line.encode())
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


def member_list(run: Run) -> None:
    """`member list`."""
    printer = run.printer()
    with run.client() as client:
        response = client.member_list()
    printer.members(response)


def version(run: Run) -> None:
    """`version`, whatever the arguments."""
    run.stdout.write(f"sampanctl version: {__version__}\nAPI version: {API_VERSION}\n".encode())


# ---- the table of commands ----------------------------------------------------------------------

GLOBAL_FLAGS = (
    string_flag("cacert", "not supported"),
    string_flag("cert", "not supported"),
    Flag("command-timeout", 5.0, "how long a command may take", gofmt.parse_duration),
    bool_flag("debug", "no effect"),
    Flag("dial-timeout", 2.0, "no effect: --command-timeout covers it", gofmt.parse_duration),
    string_flag("discovery-srv", "not supported", shorthand="d"),
    string_flag("discovery-srv-name", "no effect"),
    list_flag("endpoints", "nodes to talk to, with commas", ["127.0.0.1:2379"]),
    bool_flag("hex", "print keys and values as hexadecimal"),
    bool_flag("insecure-discovery", "no effect", default=True),
    bool_flag("insecure-skip-tls-verify", "no effect"),
    bool_flag("insecure-transport", "false is not supported", default=True),
    Flag("keepalive-time", 2.0, "no effect", gofmt.parse_duration),
    Flag("keepalive-timeout", 6.0, "no effect", gofmt.parse_duration),
    string_flag("key", "not supported"),
    string_flag("password", "no effect without --user"),
    string_flag("user", "not supported"),
    string_flag("write-out", "fields, json, protobuf, simple or table", "simple", "w"),
)

ROOT = Command((), "a shell client that takes etcdctl's commands", "[flags]")
COMMANDS = (
    Command(
        ("put",),
        "Set a key",
        "put <key> [value]",
        PUT_FLAGS,
        put,
        description="Without a value it is read from standard input. A value that begins with a\n"
        "dash goes after --: put key -- -value",
    ),
    Command(("get",), "Read a key or a range of keys", "get <key> [range_end]", GET_FLAGS, get),
    Command(
        ("del",), "Delete a key or a range of keys", "del <key> [range_end]", DEL_FLAGS, delete
    ),
    Command(
        ("endpoint",), "Ask endpoints", "endpoint <subcommand>", persistent_flags=(CLUSTER_FLAG,)
    ),
    Command(
        ("endpoint", "health"),
        "Tell which endpoints answer a linearizable read",
        "endpoint health",
        run=endpoint_health,
    ),
    Command(
        ("endpoint", "status"),
        "Tell each endpoint's id, version, size, leader, term and indexes",
        "endpoint status",
        run=endpoint_status,
    ),
    Command(("member",), "Ask about members", "member <subcommand>"),
    Command(("member", "list"), "List the members", "member list", run=member_list),
    Command(("version",), "Print the version", "version", run=version),
)
