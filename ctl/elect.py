"""`elect <election-name> [proposal]`."""

import os
from contextlib import suppress

from ..client import errors
from .commands import CommandError, Run, bad_arguments
from .flags import bool_flag
from .lock import SESSION_TTL_S, Canceled, session, signals, wait_canceled

FLAGS = (bool_flag("listen", "only tell who leads", shorthand="l"),)


def elect(run: Run) -> None:
    """Stand in an election and lead until a signal comes, or tell who leads."""
    if not 1 <= len(run.args) <= 2:
        bad_arguments("elect takes one election name argument and an optional proposal argument")
    name, *proposal = map(os.fsencode, run.args)
    if not proposal:
        if not run.flags["listen"]:
            bad_arguments("no proposal argument but -l not set")
        _observe(run, name)
    else:
        if run.flags["listen"]:
            bad_arguments("proposal given but -l is set")
        _campaign(run, name, proposal[0])


def _observe(run: Run, name: bytes) -> None:
    from ..client.recipes.election import Election  # here: other commands do without

    printer = run.printer()
    try:
        with run.client() as client, signals() as caught, suppress(Canceled):
            caught.let_go()
            for response in Election(client, name).observe_responses():
                printer.range(response)
                run.stdout.flush()
    except errors.SampanError as error:
        raise CommandError("elect: observer lost") from error


def _campaign(run: Run, name: bytes, proposal: bytes) -> None:
    from ..client.recipes.election import Election  # here: other commands do without

    expired = "elect: session expired"
    printer = run.printer()
    with (
        run.client() as client,
        signals() as caught,
        session(client, caught, SESSION_TTL_S, expired) as lease,
    ):
        election = Election(client, name, lease)
        election.campaign(proposal)
        printer.range(client.get(election.key))
        run.stdout.flush()
        wait_canceled(lease, expired)
        election.resign()
