"""Which processor an actor's process runs on, where several nodes share few.

A message passes many processes of a node, one after the other. Left alone the kernel wakes each of
them on whichever processor happens to sleep, and waking a sleeping one takes longer than what the
message is woken for; worst in a virtual machine. Processes on the same processor just take turns.
"""

import os
import secrets
import sys
from typing import NamedTuple

from ..actors import channels


class Share(NamedTuple):
    """What a node has of the machine's processors; None lets the kernel choose."""

    messages: int | None = None
    """Where everything is that a message passes."""
    log: int | None = None
    """Where the log is written."""

    def of(self, actor: str) -> int | None:
        """The processor of an actor's process. The applier's and the gateway's are free: they have
        so much to do that they go where there is time for it."""
        if actor in (channels.APPLIER, "gateway"):
            return None
        return self.log if actor == channels.WAL_WRITER else self.messages


def available() -> list[int]:
    """The processors that this process may use, or none where it cannot choose."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def share(processors: list[int], nodes: int) -> list[Share]:
    """The shares of `nodes` nodes: neighbours are on the same processor. The kernel chooses where
    each node could have one of its own, and where there is only one.

    The first processor is chosen at random, so that several small clusters do not all begin on the
    same. The first node leads most often (`RaftCore._bootstrap`), and a leader's messages do not
    wait for its log as a follower's do: it writes its log elsewhere.
    """
    count = len(processors)
    if not 1 < count < nodes:
        return [Share()] * nodes
    first = secrets.randbelow(count)
    places = [processors[(first + node * count // nodes) % count] for node in range(nodes)]
    return [Share(places[0], processors[first - 1]), *(Share(each, each) for each in places[1:])]


def stay_on(processor: int) -> bool:
    """Keep this process there, and threads that it starts from now on. False where the system
    refuses, as some sandboxes do: that costs time and nothing else."""
    if sys.platform != "linux":
        return False
    try:
        os.sched_setaffinity(0, {processor})
    except OSError:
        return False
    return True
