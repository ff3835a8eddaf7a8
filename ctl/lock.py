"""`lock <lockname> [exec-command arg1 arg2 ...]`."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from ..client import errors
from ..client.lease import Lease
from . import gofmt
from .commands import CommandError, Run, bad_arguments
from .flags import Flag

if TYPE_CHECKING:
    from ..client.sync import Client

FLAGS = (
    Flag("ttl", 10, "seconds that the lock outlives this process, or its node", gofmt.parse_int),
)
SESSION_TTL_S = 60
"""etcd's default for sessions, also where a time to live is not positive."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Canceled(CommandError):
    """SIGINT or SIGTERM came."""

    def __init__(self) -> None:
        super().__init__("context canceled")


class Signals:
    """Raises `Canceled` at the first signal, unless `held_back`."""

    def __init__(self) -> None:
        self.held_back = True
        self._came = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        came, self._came = self._came, True
        if not came and not self.held_back:
            raise Canceled

    def let_go(self) -> None:
        """Hold signals back no more. Raises `Canceled` if one came meanwhile."""
        self.held_back = False
        if self._came:
            raise Canceled


@contextmanager
def signals() -> Iterator[Signals]:
    """Catches SIGINT and SIGTERM while the block runs; held back until the block lets them go."""
    caught = Signals()
    before = [signal.signal(number, caught.on_signal) for number in SIGNALS]
    try:
        yield caught
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def session(client: "Client", caught: Signals, ttl_s: int, expired: str) -> Iterator[Lease]:
    """A lease that is revoked at the end. Signals are let go in between: one that came with the
    grant, or with the revocation, would leave the lease.

    Raises:
        CommandError: what was held by it was lost; it says `expired`.
    """
    lease = client.lease(ttl_s)
    try:
        caught.let_go()
        yield lease
    except errors.LockLostError as error:
        raise CommandError(expired) from error
    finally:
        caught.held_back = True
        with suppress(errors.SampanError):  # else it ends by itself
            lease.revoke()


def wait_canceled(lease: Lease, expired: str) -> None:
    """Wait for a signal.

    Raises:
        CommandError: the lease was lost before; it says `expired`.
    """
    try:
        lost = lease.wait_lost()
    except Canceled:
        return
    raise CommandError(expired) from lost


def lock(run: Run) -> None:
    """Hold the lock while a command runs, or until a signal comes."""
    from ..client.recipes.lock import Lock  # here: other commands do without

    if not run.args:
        bad_arguments("lock takes a lock name argument and an optional command to execute")
    name, *command = run.args
    ttl_s = run.flags["ttl"] if run.flags["ttl"] > 0 else SESSION_TTL_S
    expired = "session expired"
    printer = run.printer()
    with (
        run.client() as client,
        signals() as caught,
        session(client, caught, ttl_s, expired) as lease,
    ):
        held = Lock(client, os.fsencode(name), lease)
        held.lock()
        if command:
            caught.held_back = True
            _execute(run, command, held.key, held.token)
        else:
            response = client.get(held.key)
            if not response.kvs:
                raise CommandError("lock lost on init")
            printer.range(response)
            run.stdout.flush()
            wait_canceled(lease, expired)
        held.unlock()


def _execute(run: Run, command: Sequence[str], key: bytes, token: int) -> None:
    """Run a command without input.

    Raises:
        CommandError: it could not be run, or failed; the exit code is its own.
    """
    program = command[0]
    if program and "/" not in program and shutil.which(program) is None:
        quoted = gofmt.quote(os.fsencode(program))
        raise CommandError(f"exec: {quoted}: executable file not found in $PATH")
    run.stdout.flush()
    lock = {"ETCD_LOCK_KEY": os.fsdecode(key), "ETCD_LOCK_REV": str(token)}
    try:
        ran = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env=os.environ | lock)
    except OSError as error:
        raise CommandError(f"fork/exec {program}: {str(error.strerror).lower()}") from error
    if ran.returncode < 0:
        name = signal.strsignal(-ran.returncode) or f"signal {-ran.returncode}"
        raise CommandError(f"signal: {name.lower()}", 255)
    if ran.returncode:
        raise CommandError(f"exit status {ran.returncode}", ran.returncode)
