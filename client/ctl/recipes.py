"""`lock` and `elect`: hold a lock or a leadership until a signal comes, or while a command runs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..lease import Lease
from .commands import EXIT_ERROR, CommandError, Run, bad_arguments
from .flags import Flag, bool_flag
from .gofmt import parse_int, quote
from .printers import Printer

LOCK_TTL_S = 10
ELECTION_TTL_S = 60
"""A session's, in etcd's client."""
WAIT_S = 1.0
"""How often to look whether a signal has come: a wait without an end does not let it through
everywhere."""

LOCK_FLAGS = (Flag("ttl", LOCK_TTL_S, "seconds that the lock outlives its holder", parse_int),)
ELECT_FLAGS = (bool_flag("listen", "only look on", shorthand="l"),)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM interrupts as SIGINT does, and both end the command well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_lost(lease: Lease) -> None:
    while lease.wait_lost(WAIT_S) is None:
        pass


def lock(run: Run) -> None:
    """`lock <lockname> [exec-command arg1 arg2 ...]`."""
    if not run.args:
        bad_arguments("lock takes a lock name argument and an optional command to execute")
    with _signals():
        _hold(run, run.printer())


def _hold(run: Run, printer: Printer) -> None:
    from ..recipes import Lock

    with run.client() as client, client.lease(max(0, run.flags["ttl"])) as lease:
        held = Lock(client, os.fsencode(run.args[0]), lease)
        with held:
            if run.args[1:]:
                _execute(run, held.key, held.token)
                return
            response = client.get(held.key)
            if not response.kvs:
                raise CommandError("lock lost on init")
            printer.range(response)
            run.stdout.flush()
            _wait_lost(lease)
    raise CommandError("session expired")


def _execute(run: Run, key: bytes, revision: int) -> None:
    import subprocess  # other commands start faster without it

    command = run.args[1:]
    environ = os.environ | {"ETCD_LOCK_KEY": os.fsdecode(key), "ETCD_LOCK_REV": str(revision)}
    run.stdout.flush()
    try:
        ran = subprocess.run(command, env=environ, capture_output=True, check=False)
    except FileNotFoundError:
        name = quote(os.fsencode(command[0]))
        raise CommandError(f"exec: {name}: executable file not found in $PATH") from None
    except OSError as error:
        raise CommandError(f"fork/exec {command[0]}: {error.strerror}") from error
    run.stdout.write(ran.stdout)
    run.stderr.write(ran.stderr)
    if ran.returncode:
        raise CommandError(f"exit status {ran.returncode}", ran.returncode)


def elect(run: Run) -> None:
    """`elect <election-name> [proposal]`."""
    if not 1 <= len(run.args) <= 2:
        bad_arguments("elect takes one election name argument and an optional proposal argument")
    name = os.fsencode(run.args[0])
    if run.flags["listen"]:
        if len(run.args) == 2:
            bad_arguments("proposal given but -l is set")
        with _signals():
            _observe(run, name)
    else:
        if len(run.args) == 1:
            bad_arguments("no proposal argument but -l not set")
        with _signals():
            _campaign(run, name, os.fsencode(run.args[1]))


def _observe(run: Run, name: bytes) -> None:
    from ..recipes import Election

    printer = run.printer()
    with run.client() as client:
        for leader in Election(client, name).observe():
            printer.range(client.get(leader.key, revision=leader.mod_revision))
            run.stdout.flush()
    raise CommandError("elect: observer lost", EXIT_ERROR)


def _campaign(run: Run, name: bytes, proposal: bytes) -> None:
    from ..recipes import Election

    printer = run.printer()
    with run.client() as client, client.lease(ELECTION_TTL_S) as lease:
        election = Election(client, name, lease)
        election.campaign(proposal)
        try:
            printer.range(client.get(election.key))
            run.stdout.flush()
            _wait_lost(lease)
        except BaseException:
            election.resign()
            raise
    raise CommandError("elect: session expired")
