"""What the members of a cluster tell etcdctl, be it etcd or Sampan behind its gateways."""

import json
from collections.abc import Sequence

from .errors import BenchError
from .programs import find_program, run_program

_CTL_S = 10.0


def etcdctl(endpoints: Sequence[str], *arguments: str) -> str:
    """What it prints. Raises BenchError when it is missing or fails."""
    return run_program(
        [find_program("etcdctl"), "--endpoints", ",".join(endpoints), *arguments], _CTL_S
    )


def leader(endpoints: Sequence[str]) -> tuple[str, int]:
    """The leader's client endpoint, and the store's revision as the leader tells it.

    Raises:
        BenchError: when not every member answers, or they do not agree on a leader.
    """
    statuses = json.loads(etcdctl(endpoints, "endpoint", "status", "-w", "json"))
    known = {one["Status"].get("leader", 0) for one in statuses}
    if len(statuses) == len(endpoints) and len(known) == 1:
        for one in statuses:
            header = one["Status"]["header"]
            if header["member_id"] in known:
                return one["Endpoint"], header["revision"]
    raise BenchError("the members do not agree on a leader")


def version(endpoints: Sequence[str]) -> str:
    """Of the first that answers."""
    statuses = json.loads(etcdctl(endpoints, "endpoint", "status", "-w", "json"))
    return str(statuses[0]["Status"]["version"])
