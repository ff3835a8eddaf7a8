"""`make-mirror`: copies a prefix to another cluster and goes on with every change
(etcdctl/ctlv3/command/make_mirror_command.go)."""

import os
import threading
from itertools import groupby
from typing import TYPE_CHECKING

from ..client import ops
from ..client.ops import Request
from .commands import Run, bad_arguments
from .flags import bool_flag, string_flag

if TYPE_CHECKING:
    from ..client.sync import Client
    from ..client.watch import WatchEvent

REPORT_S = 30.0
"""How often the number of keys copied is printed."""
FOREVER_S = 365 * 24 * 3600.0

FLAGS = (
    string_flag("dest-cacert", "not supported"),
    string_flag("dest-cert", "not supported"),
    bool_flag("dest-insecure-transport", "false is not supported", default=True),
    string_flag("dest-key", "not supported"),
    string_flag("dest-password", "no effect"),
    string_flag("dest-prefix", "what stands for the prefix at the destination"),
    string_flag("dest-user", "no effect"),
    bool_flag("no-dest-prefix", "copy to the root of the destination"),
    string_flag("prefix", "what the keys begin with"),
)


class Mirror:
    """One prefix on its way to another cluster."""

    def __init__(self, destination: "Client", prefix: bytes, new_prefix: bytes) -> None:
        self._destination = destination
        self._prefix = prefix
        self._new_prefix = new_prefix
        self.copied = 0

    def _renamed(self, key: bytes) -> bytes:
        return self._new_prefix + key[len(self._prefix) :]

    def copy(self, source: "Client") -> int:
        """Copy what is there; returns the revision as of which it was."""
        revision = source.get(b"\0", count_only=True, range_end=b"\1").header.revision
        everything = source.scan(
            self._prefix or b"\0", prefix=bool(self._prefix), from_key=not self._prefix,
            revision=revision,
        )  # fmt: skip
        for kv in everything:
            self._destination.put(self._renamed(kv.key), kv.value)
            self.copied += 1
        return revision

    def follow(self, source: "Client", revision: int) -> None:
        """Copy every change after `revision`, those of one revision in one transaction, or in as
        few as there may be."""
        watch = source.watch(
            self._prefix or b"\0", prefix=bool(self._prefix), from_key=not self._prefix,
            start_revision=revision + 1, timeout_s=FOREVER_S,
        )  # fmt: skip
        for response in watch:
            for _, events in groupby(response.events, lambda event: event.kv.mod_revision):
                operations = [self._operation(event) for event in events]
                for begin in range(0, len(operations), ops.TXN_OPS_MAX):
                    self._destination.txn([], operations[begin : begin + ops.TXN_OPS_MAX])

    def _operation(self, event: "WatchEvent") -> Request:
        key = self._renamed(event.kv.key)
        self.copied += event.type == "PUT"
        return ops.put(key, event.kv.value) if event.type == "PUT" else ops.delete(key)


def run(run: Run) -> None:
    """`make-mirror [options] <destination>`."""
    flags = run.flags
    if len(run.args) != 1:
        bad_arguments("make-mirror takes one destination argument")
    for name in ("dest-cacert", "dest-cert", "dest-key"):
        if flags[name]:
            bad_arguments(f"--{name} is not supported")
    if not flags["dest-insecure-transport"]:
        bad_arguments("--dest-insecure-transport=false is not supported")
    if flags["dest-prefix"] and flags["no-dest-prefix"]:
        text = "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one"
        bad_arguments(text)
    prefix = os.fsencode(flags["prefix"])
    new_prefix = os.fsencode(flags["dest-prefix"]) or prefix
    if flags["no-dest-prefix"]:
        new_prefix = b""
    with run.client() as source, run.client(run.args) as destination:
        mirror = Mirror(destination, prefix, new_prefix)
        _report_later(run, mirror)
        mirror.follow(source, mirror.copy(source))


def _report_later(run: Run, mirror: Mirror) -> None:
    """Print now and then how many keys were copied."""

    def report() -> None:
        run.stdout.write(f"{mirror.copied}\n".encode())
        run.stdout.flush()
        _report_later(run, mirror)

    timer = threading.Timer(REPORT_S, report)
    timer.daemon = True
    timer.start()
