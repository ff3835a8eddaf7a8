"""Ports for what tests start.

Every worker has ports of its own and goes through all of them before it gives one out again: one
that is free for a moment, because its node was killed or has not come so far, is nobody else's.
"""

import itertools
import os
import random

from sampan.bench.ports import PORTS, is_free

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_own = PORTS[_worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
_first = random.randrange(len(_own))  # another run of the suite may be at work beside this one
_turns = itertools.cycle((*_own[_first:], *_own[:_first]))


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, or will but the caller."""
    return next(port for port in _turns if is_free(port, host))
