"""Which code and text a failed request becomes."""

from types import SimpleNamespace

import pytest
from sampan.client import errors
from sampan.gateway.backend import Answer
from sampan.transport import errors as wire
from sampan.transport.requests import KIND_READ, KIND_WRITE

TIMED_OUT = (14, "etcdserver: request timed out")


def finished(error, kind, leader):
    seen = []
    call = SimpleNamespace(finish=lambda *args: seen.append(args))
    Answer(call, kind, lambda *_: b"", SimpleNamespace(leader_id=leader)).set_exception(error)
    (only,) = seen
    return only


NO_ANSWER = errors.RequestTimeoutError(wire.DEADLINE_EXCEEDED, "sampan: no answer by the deadline")
NOT_SENT = errors.UnreachableError(wire.DEADLINE_EXCEEDED, "sampan: not sent by its deadline")
COMPACTED = errors.from_wire(wire.COMPACTED)
NO_LEADER = errors.from_wire(wire.NO_LEADER)


@pytest.mark.parametrize(
    ("error", "kind", "leader", "status"),
    [
        (NO_ANSWER, KIND_WRITE, 1, TIMED_OUT),
        (NO_ANSWER, KIND_WRITE, 0, (2, "context deadline exceeded")),
        (NOT_SENT, KIND_WRITE, 1, (2, "context deadline exceeded")),
        (NO_LEADER, KIND_WRITE, 0, (2, "context deadline exceeded")),
        (NO_LEADER, KIND_READ, 0, TIMED_OUT),
        (NOT_SENT, KIND_READ, 0, TIMED_OUT),
        (COMPACTED, KIND_READ, 1, (wire.COMPACTED.code, wire.COMPACTED.text)),
        (
            errors.ClientClosedError(wire.UNAVAILABLE, "closed"), KIND_READ, 1,
            (14, "etcdserver: server stopped"),
        ),
    ],
)  # fmt: skip
def test_status(error, kind, leader, status):
    assert finished(error, kind, leader) == status


def test_a_fault_of_ours_is_internal():
    code, text = finished(RuntimeError("oops"), KIND_READ, 1)
    assert code == 13
    assert "oops" in text


def test_a_result_that_cannot_be_told_ends_its_call_and_nothing_else():
    seen = []
    call = SimpleNamespace(finish=lambda *args: seen.append(args))
    answer = Answer(call, KIND_READ, lambda _, result: result[5], SimpleNamespace(leader_id=1))
    answer.set_result((None, (0, 1)))
    assert answer.done()
    ((code, text),) = seen
    assert code == 13
    assert "malformed result" in text
