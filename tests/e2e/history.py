"""What clients saw, and the proof that it was strictly serializable.

Every answer carries the store's revision, so the order is known and one sweep over it suffices: an
operation at a revision must not have returned before one at an earlier revision was called. The
order itself is not trusted: it must agree with the store's own history, read back revision by
revision, and every value that was read must be the one of that history.
"""

from typing import NamedTuple

INFINITY = float("inf")

ACKED = "acked"
NOT_APPLIED = "not applied"
UNKNOWN = "unknown"


class Op(NamedTuple):
    """One call of one client. Values are unique over a history."""

    kind: str  # "put", "delete", "read" (linearizable) or "serializable"
    key: bytes
    value: bytes  # of a put
    call: float
    ret: float  # INFINITY when it never was answered
    outcome: str = ACKED
    revision: int = 0  # of an acknowledged one
    found: tuple = ()  # of a read: ((key, value, mod revision), ...)


class Violation(AssertionError):
    """A broken promise, with the operation that proves it."""


def states_of(log):
    """revision -> {key: (value, mod revision)} for a log of revision -> [(key, value or None)]."""
    states, current = {1: {}}, {}
    for revision in range(2, max(log, default=1) + 1):
        current = dict(current)
        for key, value in log.get(revision, ()):
            if value is None:
                current.pop(key, None)
            else:
                current[key] = (value, revision)
        states[revision] = current
    return states


def check(ops, log):
    """Raise Violation unless `ops` can have happened on a store whose history is `log`.

    `log` maps each revision to its changes, (key, value) or (key, None) for a deletion. Keys that
    no operation names are other people's and do not matter.
    """
    placed = _place_writes(ops, log)
    states = states_of(log)
    for op in ops:
        if op.kind in ("read", "serializable") and op.outcome == ACKED:
            _check_read(op, states)
            if op.kind == "read":
                placed.append(op)
        elif op.kind == "delete" and op.outcome == ACKED:
            placed.append(op)
    _sweep(placed)


def _place_writes(ops, log):
    """The puts that happened, with their revisions; refuses lost, doubled and invented ones."""
    where = {}
    for revision, changes in log.items():
        for key, value in changes:
            if value is not None and value in where:
                raise Violation(f"{value!r} was applied twice: {where[value]} and {revision}")
            if value is not None:
                where[value] = (revision, key)
    placed = []
    for op in ops:
        if op.kind == "delete" and op.outcome == ACKED:
            _check_delete(op, log)
        if op.kind != "put":
            continue
        found = where.pop(op.value, None)
        if op.outcome == ACKED and found != (op.revision, op.key):
            raise Violation(f"an acknowledged write was lost: {op}, the store has {found}")
        if op.outcome == NOT_APPLIED and found is not None:
            raise Violation(f"a write that was called not applied is there: {op}, at {found}")
        if found is not None:
            placed.append(op._replace(revision=found[0]))
    ours = {op.key for op in ops}
    invented = {value: at for value, at in where.items() if at[1] in ours}
    if invented:
        raise Violation(f"values that nobody wrote: {invented}")
    return placed


def _check_delete(op, log):
    """A delete that deleted (`found` is not empty) has a revision of its own."""
    deleted = (op.key, None) in log.get(op.revision, ())
    if op.found and not deleted:
        raise Violation(f"an acknowledged delete was lost: {op}")


def _check_read(op, states):
    if op.revision not in states:
        raise Violation(f"a read from the future: {op}, the store ends at {max(states)}")
    state = states[op.revision]
    wanted = tuple((k, v, r) for k, (v, r) in sorted(state.items()) if k.startswith(op.key))
    if op.found != wanted:
        raise Violation(f"a read saw another state than that of its revision: {op}, not {wanted}")


def _sweep(ops):
    """Real time: whoever returned before another was called has no later revision."""
    latest_call, latest = -INFINITY, None
    for op in sorted(ops, key=lambda op: (op.revision, not _changed(op), op.call)):
        if op.ret < latest_call:
            raise Violation(
                f"{op} returned before {latest} was called, but comes after it: a stale read, or "
                "an order that is not that of time"
            )
        if op.call > latest_call:
            latest_call, latest = op.call, op


def _changed(op):
    """Whether the operation made its revision; a delete of what was not there only read."""
    return op.kind == "put" or (op.kind == "delete" and bool(op.found))
