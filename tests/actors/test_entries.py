"""What a leader lets into the log from a peer can be applied; what cannot be is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.actors.applier import Applier
from sampan.actors.entries import CLAIM, MARKER, PUBLISH, check_forwarded, own_entry
from sampan.config.limits import LogLimits
from sampan.raft import (
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    Entry,
    EntryType,
    RaftError,
)
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import CodecError, pack

from ..conftest import SilentLog
from .helpers import turn

TXN = (
    "txn",
    ((1, 0, b"a", 1), (3, 2, b"b", b"x", b"c")),
    (("put", b"a", b"1"), ("range", b"a", b"z", 5)),
    (("delete", b"a", b"b", 1), ("txn", (), (("put", b"k", b"v", 0, 1),), ())),
)
BODIES = (
    (("put", b"a", b"1"), ("put", b"b", b"2", 0, 1)),
    (("put", b"a", b"1", 7), ("delete", b"a", b"c", 1)),
    (TXN,),
    (("lease_grant", 7, 60), ("lease_keep_alive", 7), ("lease_revoke", 7)),
    (("session_open", 5), ("compact", 1), ("alarm_disarm", 1)),
)
OWN_REQUESTS = (
    ("lease_expire", ((7, 3), (8, 4)), 100),
    ("alarm_raise", 1, 1),
    ("alarm_disarm", 1, 1),
    ("compact", 1),
)
STAMPS = (None, (1 << 40 | 1, 3, 2), (1 << 40 | 1, 4, 2, ((0, errors.EMPTY_KEY),)))
OWN_ENTRIES = (
    (PUBLISH, 2, "n2", ("127.0.0.1:1",), 5),
    (MARKER, 1),
    (CLAIM, 1, 4, 99),
)
writes = st.one_of(
    st.tuples(st.just(2), st.just(9), st.lists(st.sampled_from(BODIES), min_size=1).map(tuple)),
    st.lists(st.tuples(st.sampled_from(BODIES), st.sampled_from(STAMPS)), min_size=1).map(
        lambda pairs: (2, 9, tuple(body for body, _ in pairs), tuple(stamp for _, stamp in pairs))
    ),
    st.tuples(
        st.just(0), st.just(0), st.tuples(st.tuples(st.sampled_from(OWN_REQUESTS)))
    ),
)  # fmt: skip
own = st.sampled_from(OWN_ENTRIES)


def packed(content):
    """An entry's data, with its bodies packed for themselves as they are in one."""
    long = type(content) is tuple and len(content) > 2
    if long and type(content[2]) is tuple and content[0] != PUBLISH:
        bodies = tuple(each if type(each) is bytes else pack(each) for each in content[2])
        content = (*content[:2], bodies, *content[3:])
    return pack(content)


def normal(content):
    return Entry(data=packed(content))


@given(st.one_of(writes, own))
def test_what_members_propose_passes(content):
    check_forwarded(normal(content))


@pytest.mark.parametrize("request_", OWN_REQUESTS)
def test_what_a_member_asks_for_itself_passes(request_):
    check_forwarded(Entry(data=own_entry(request_)))


def changes(*changes, context=b""):
    v2 = ConfChangeV2(changes=[ConfChangeSingle(kind, node) for kind, node in changes])
    v2.context = context
    return Entry(type=EntryType.EntryConfChangeV2, data=v2.marshal())


ADD, REMOVE = ConfChangeType.ConfChangeAddNode, ConfChangeType.ConfChangeRemoveNode


LEARN = ConfChangeType.ConfChangeAddLearnerNode
REMOVAL = ("member_change", (("remove", 3),))
REPLACE = ("member_change", (("remove", 3), ("add", 4, ("127.0.0.1:4",), 1, 0)))


def changing(*requests):
    return pack((2, 9, [pack(requests)], [None]))


@pytest.mark.parametrize(
    "entry",
    [
        changes((REMOVE, 3), (LEARN, 4), context=changing(REPLACE)),
        changes((REMOVE, 3), context=changing(("put", b"a", b""), REMOVAL)),
    ],
)
def test_changes_of_the_members_pass(entry):
    check_forwarded(entry)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(),
        Entry(data=b"x"),
        Entry(data=b"\xc1"),
        normal(()),
        normal(7),
        normal(("nonsense", 1)),
        normal((PUBLISH, 1)),
        normal((PUBLISH, 1, "n1", "127.0.0.1:1", 5)),
        normal((MARKER,)),
        normal((CLAIM, 1, 2)),
        normal((2, 9)),
        normal((2, 9, ())),
        normal((2, 9, ((),))),
        normal((2, 9, ((("lease_expire", (), 1),),))),
        normal((2, 9, ((("put", "a", b""),),))),
        normal((2, 9, ((("fly", 1),),))),
        normal((2, 9, (b"\xc1",))),
        normal((2, 9, (BODIES[0],), ())),
        normal((2, 9, (BODIES[0],), ((1, 2),))),
        normal((2, 9, (BODIES[0],), (STAMPS[1], STAMPS[1]))),
        normal((2, 9, (BODIES[0],), ((1, 2, 3, ((2**63, errors.EMPTY_KEY),)),))),
        normal((0, 0, ((("session_open", 1),),))),
        normal((0, 0, ((("lease_expire", 7, 1),),))),
        normal((-1, 9, (BODIES[0],))),
        changes(),
        changes((ADD, 4)),
        changes((ADD, 4), context=pack("n4")),
        changes((ADD, 4), context=pack(("n4", "127.0.0.1:4"))),
        changes((REMOVE, 3), context=changing(REPLACE)),
        changes((REMOVE, 3), context=changing(("put", b"a", b""))),
        changes((REMOVE, 3), (ADD, 4), context=changing(REPLACE)),
        changes(context=pack(("force", 2))),
        normal((2, 9, ((REPLACE,),))),
        Entry(type=EntryType.EntryConfChangeV2, data=b"\xff"),
    ],
)
def test_what_could_not_be_applied_is_refused(entry):
    with pytest.raises((CodecError, RaftError)):
        check_forwarded(entry)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.integers(-(2**63), 2**64 - 1),
    st.binary(max_size=3), st.text(max_size=3), st.sampled_from(["put", "txn", "lease_expire"]),
    st.just(()), st.tuples(st.integers(0, 3)), st.tuples(st.text(max_size=3)),
)  # fmt: skip


@st.composite
def changed(draw, content):
    """`content` with something in it, at any depth, taken out, doubled or replaced."""
    if type(content) is not tuple or not content or draw(st.integers(0, 4)) == 0:
        return draw(scalars)
    at = draw(st.integers(0, len(content) - 1))
    inside = [draw(changed(content[at]))] if draw(st.integers(0, 5)) else []
    return (*content[:at], *inside, *content[at + draw(st.integers(0, 1)) :])


@pytest.fixture(scope="module")
def applier(tmp_path_factory):
    path = tmp_path_factory.mktemp("entries")
    applier = Applier(
        2, lambda: StateStore.open(path / "state"), SnapshotStore(path / "snapshots"),
        LogLimits(), SilentLog(),
    )  # fmt: skip
    applier.start()
    yield applier
    applier.close()


@given(st.one_of(writes, own).flatmap(changed))
def test_what_passes_can_be_applied(applier, content):
    entry = normal(content)
    try:
        check_forwarded(entry)
    except CodecError:
        return
    index = applier._state.applied_index + 1
    turn(applier, ("applyc", ("entries", [(1, index, 0, entry.data)])))
    assert applier._state.applied_index == index
