"""Applying changes of the raft configuration: what the applier and the core settle between them.

An entry that changes the configuration stops the applier (etcd's raftAdvancedC barrier). `plan`
works out from the state, which is the same on all members, which of the changes that the entry
asks for are to happen: others may have come before it. The core makes them, and `apply` writes
the members and the configuration that it answers in one step with the entry's index.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..raft import ConfChangeSingle, ConfChangeType, confchange
from ..security.rules import Who
from ..storage.members import find
from ..storage.sessions import Stamp
from ..storage.state_store import StateStore
from ..transport.codec import unpack
from .asked import NOBODY
from .entries import FORCE

REMOVED = (
    "the member has been permanently removed from the cluster. To bring this machine back, remove "
    "its data dir, run `sampanctl member add` and start it with the new id"
)

FORCED = -1
"""In place of a step's type: the core drops its configuration for this member alone."""


def conf_changes(steps: Iterable[tuple[int, int]]) -> list[ConfChangeSingle]:
    """(type, member) of steps as the core takes them."""
    return [ConfChangeSingle(ConfChangeType(kind), member) for kind, member in steps]


Plan = tuple[int, bytes, tuple[tuple[int, int], ...] | None]
"""(entry type, its data, (type, member) of the steps to make instead of those in it, or None)."""


def plan(state: StateStore, kind: int, data: bytes) -> Plan:
    """What the core is to do for an entry."""
    change = confchange.decode(kind, data).as_v2()
    payload = _payload(change.context)
    if payload is None:
        return kind, data, None
    if payload[0] == FORCE:
        return kind, data, ((FORCED, payload[1]),)
    own = payload[0] == NOBODY
    asked = unpack(payload[2][0]) if own else _executed(state, *payload[2:])
    steps = [(int(k), member) for k, member in state.members.plan(asked)]
    # As many as the entry has, or the core would leave or enter a joint configuration otherwise
    # than whoever proposed it meant. The id 0 is a step that does nothing.
    missing = len(change.changes) - len(steps)
    return kind, data, (*steps, *(((0, 0),) * missing))


def _executed(state: StateStore, bodies: Any, stamps: Any = None, whos: Any = None) -> list[Any]:
    """The requests of an entry that are executed if it is applied now."""
    nothing = [None] * len(bodies)
    found = []
    for body, stamp, who in zip(bodies, stamps or nothing, whos or nothing, strict=True):
        known, asking = stamp and Stamp(*stamp), who and Who(*who)
        found += [each for each in unpack(body) if state.would_execute(asking, known, each)]
    return found


def _payload(context: bytes) -> Any:
    """The writes or the order in a change's context; None for one of a new cluster, and for the
    end of a joint configuration."""
    payload = unpack(context) if context else None
    of_new_cluster = payload is not None and list(map(type, payload)) == [str, str]
    return None if of_new_cluster else payload


def apply(
    state: StateStore,
    at: tuple[int, int],
    entry: tuple[int, bytes],
    conf_state: Any,
    apply_writes: Callable[[Any, tuple[int, int]], None],
) -> None:
    """Apply the entry at (index, term), which the core has answered with `conf_state`; the writes
    in it by `apply_writes(payload, (index, term))`."""
    change = confchange.decode(*entry).as_v2()
    payload = _payload(change.context)
    if payload is not None and payload[0] != FORCE:
        apply_writes(payload, at)
        state.keep_conf_state(conf_state)
        return
    members = state.members
    if payload is not None:
        members.only(payload[1])
    else:
        for step in change.changes:
            members.all = _bootstrapped(members.all, step.type, step.node_id, change.context)
    state.apply_conf_state(*at, conf_state, members.all)


def _bootstrapped(members: Any, kind: ConfChangeType, member_id: int, context: bytes) -> Any:
    """The members of a new cluster, one by one."""
    if kind == ConfChangeType.ConfChangeAddNode and find(members, member_id) is None:
        name, peer = unpack(context)
        return (*members, (member_id, name, (peer,), (), False, 0))
    return members
