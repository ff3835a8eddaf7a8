"""Writes that come again: applied once and answered as the first time, as long as that is known."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage import sessions
from sampan.storage.sessions import Stamp, pack_answer
from sampan.storage.sliced import finish
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import unpack_local

EXPIRED = tuple(errors.SESSION_EXPIRED)
NOT_KEPT = tuple(errors.ANSWER_NOT_KEPT)
PUT = ("put", b"k", b"v")


class Store:
    """A state store that is asked in messages and can be closed and opened again."""

    def __init__(self, path):
        self.path = path
        self.state = StateStore.open(path)

    def entry(self, *stamped):
        """Apply one entry of (stamp, requests) messages; the decoded answers."""
        stamps, messages = [s and Stamp(*s) for s, _ in stamped], [m for _, m in stamped]
        index = self.state.applied_index + 1
        answers = finish(self.state.apply_once(index, 1, messages, stamps))
        return [unpack_local(pack_answer(answer)) for answer in answers]

    def write(self, stamp, *requests):
        (answer,) = self.entry((stamp, requests))
        return answer

    def open_session(self, nonce=7):
        ((_, _, session),) = self.write(None, ("session_open", nonce))
        return session

    def version(self, key=b"k"):
        """How often a key was put since it is there."""
        kvs = self.state.range(("range", key))[4]
        return kvs[0][3] if kvs else 0

    def restart(self):
        self.state.commit()
        self.state.close()
        self.state = StateStore.open(self.path)

    def install(self, path):
        """Go on from a snapshot of itself, as a member that was too far behind."""
        self.state.checkpoint(path)
        self.state.close()
        self.path = path
        self.state = StateStore.open(path)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "state")
    yield made
    made.state.close()


def test_a_message_that_comes_again_gets_the_first_answer_and_changes_nothing(store):
    session = store.open_session()
    first = store.write((session, 1, 1), PUT, PUT)
    assert first == ((0, 2), (0, 3))
    store.write(None, PUT)
    assert store.write((session, 1, 1), PUT, PUT) == first
    assert (store.version(), store.state.revision) == (3, 4)


def test_answers_of_every_kind_come_again(store):
    session = store.open_session()
    requests = (
        ("put", b"a", b"1", 0, 1),
        ("put", b"a", b"2", 0, 1),
        ("put", b"b", b"", 99),
        ("txn", (), (("range", b"a"), ("delete", b"a", b"", 1)), ()),
        ("delete", b"z"),
        ("session_open", 1),
    )
    first = store.write((session, 5, 1), *requests)
    assert first[2] == tuple(errors.LEASE_NOT_FOUND)
    store.restart()
    assert store.write((session, 5, 1), *requests) == first
    assert store.state.revision == 4


def test_the_same_message_twice_in_one_entry_is_applied_once(store):
    session = store.open_session()
    stamp = (session, 1, 1)
    answers = store.entry(
        (stamp, (PUT,)), (None, (PUT,)), (stamp, (PUT,)), ((session, 2, 1), (PUT,))
    )
    assert answers == [((0, 2),), ((0, 3),), ((0, 2),), ((0, 4),)]
    assert store.version() == 3


def test_an_entry_may_hold_nothing_but_what_came_before(store):
    session = store.open_session()
    store.write((session, 1, 1), PUT)
    assert store.entry(((session, 1, 1), (PUT,)), ((session, 1, 1), (PUT,))) == [((0, 2),)] * 2
    assert store.version() == 1


def test_numbers_may_come_in_any_order_and_leave_gaps(store):
    session = store.open_session()
    for sequence in (9, 4, 7):
        store.write((session, sequence, 1), PUT)
    assert store.write((session, 4, 1), PUT) == ((0, 3),)
    assert store.write((session, 5, 1), PUT) == ((0, 5),)


def test_what_was_acknowledged_is_never_applied_again(store):
    """Also when it was given up and arrives for the first time now."""
    session = store.open_session()
    store.write((session, 1, 1), PUT)
    store.write((session, 3, 3), PUT)
    assert store.write((session, 1, 1), PUT) == EXPIRED
    assert store.write((session, 2, 1), PUT) == EXPIRED
    assert store.version() == 2


def test_the_newest_acknowledgement_counts_within_one_entry(store):
    session = store.open_session()
    first, second = ((session, 1, 1), (PUT,)), ((session, 2, 2), (PUT,))
    assert store.entry(first, second, first)[2] == EXPIRED
    store.restart()
    assert store.write((session, 1, 1), PUT) == EXPIRED
    assert store.version() == 2


def test_an_unknown_session_applies_nothing(store):
    assert store.write((12345, 1, 1), PUT) == EXPIRED
    assert store.version() == 0


def test_sessions_have_ids_of_their_own_whatever_the_nonce(store):
    ids = {store.open_session(nonce) for nonce in (0, 0, 1, 2**64 - 1)}
    store.restart()
    ids |= {store.open_session(nonce) for nonce in (0, 0, 1, 2**64 - 1)}
    assert len(ids) == 8
    assert all(0 < session < 2**64 for session in ids)


def test_a_session_keeps_a_bounded_number_of_answers(store):
    session = store.open_session()
    for sequence in range(1, sessions.ANSWERS_MAX + 2):
        store.write((session, sequence, 1), PUT)
    assert store.write((session, 1, 1), PUT) == EXPIRED
    assert store.write((session, 2, 1), PUT) == ((0, 3),)


def test_large_results_are_not_kept_and_the_others_are(store):
    session = store.open_session()
    store.write(None, ("put", b"big", bytes(sessions.SESSION_BYTES_MAX)))
    requests = (PUT, ("delete", b"big", b"", 1), PUT)
    first = store.write((session, 1, 1), *requests)
    assert len(first[1][3][0][5]) == sessions.SESSION_BYTES_MAX
    assert store.write((session, 1, 1), *requests) == (first[0], NOT_KEPT, first[2])


def test_where_nothing_more_fits_the_answer_is_not_kept_as_a_whole(store, monkeypatch):
    monkeypatch.setattr(sessions, "SESSION_BYTES_MAX", 300)
    session = store.open_session()
    many = [("put", b"k", b"v", 0, 1)] * 50
    assert len(store.write((session, 1, 1), *many)) == 50
    assert store.write((session, 1, 1), *many) == NOT_KEPT
    assert store.version() == 50


def test_the_session_not_used_for_longest_ends_first(store, monkeypatch):
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    old, used = store.open_session(), store.open_session()
    store.entry(((used, 1, 1), (PUT,)), ((old, 1, 1), (PUT,)), ((used, 2, 1), (PUT,)))
    store.restart()
    new = store.open_session()
    assert store.write((old, 1, 1), PUT) == EXPIRED
    assert store.write((used, 1, 1), PUT) == ((0, 2),)
    assert store.write((new, 1, 1), PUT) == ((0, 5),)


def test_sessions_end_when_all_answers_are_too_much(store, monkeypatch):
    monkeypatch.setattr(sessions, "SESSIONS_BYTES_MAX", 670)
    idle, busy = store.open_session(), store.open_session()
    store.write((idle, 1, 1), PUT)
    for sequence in range(1, 9):
        store.write((busy, sequence, 1), ("put", b"k", b"v", 0, 1))
    assert store.write((idle, 1, 1), PUT) == EXPIRED
    assert store.write((busy, 8, 1), PUT)[0][1] == 10


def test_answers_of_plain_puts_count_among_all(store, monkeypatch):
    """They are kept without being packed, at once when they are claimed."""
    monkeypatch.setattr(sessions, "SESSIONS_BYTES_MAX", 8 * sessions._OVERHEAD)
    idle, busy = store.open_session(), store.open_session()
    store.write((idle, 1, 1), PUT)
    for sequence in range(1, 9):
        store.write((busy, sequence, 1), PUT)
    assert store.write((busy, 8, 1), PUT) == ((0, 10),)
    assert store.write((idle, 1, 1), PUT) == EXPIRED


def test_refused_requests_have_their_places_in_the_answer_that_is_kept(store):
    session = store.open_session()
    refused = ((0, errors.EMPTY_KEY), (2, errors.REQUEST_TOO_LARGE))
    first = store.write((session, 1, 1, refused), PUT, PUT)
    assert first == (tuple(errors.EMPTY_KEY), (0, 2), tuple(errors.REQUEST_TOO_LARGE), (0, 3))
    assert store.write((session, 1, 1), PUT) == first  # another node may refuse something else


# -- any sequence of entries, against a model that forgets nothing it need not

KEYS = [b"a", b"b"]
REQUESTS = st.one_of(
    st.sampled_from(KEYS).map(lambda key: ("put", key, b"v")),
    st.sampled_from(KEYS).map(lambda key: ("put", key, b"v", 0, 1)),
    st.sampled_from(KEYS).map(lambda key: ("txn", (), (("put", key, b"t"),), ())),
)
MESSAGES = st.tuples(
    st.integers(0, 3),  # which session; 0 for none
    st.integers(1, 8),
    st.integers(1, 8),
    st.lists(REQUESTS, min_size=1, max_size=3),
)
STEPS = st.one_of(
    st.lists(MESSAGES, min_size=1, max_size=4),
    st.sampled_from(["open", "restart", "snapshot", "commit"]),
)


class SessionsModel:
    """What must happen to each message, from the rules in docs/protocol.md alone."""

    def __init__(self):
        self.uses = []  # open sessions, the last used last
        self.floors, self.answers = {}, {}

    def open(self, session):
        self.uses.append(session)
        self.floors[session] = 1
        del self.uses[: -sessions.SESSIONS_MAX]

    def expected(self, stamp):
        """The first answer, EXPIRED, or None for a message that is new."""
        session, sequence, below = stamp
        if session not in self.uses:
            return EXPIRED
        self.uses.remove(session)
        self.uses.append(session)
        self.floors[session] = max(self.floors[session], below)
        if sequence < self.floors[session]:
            return EXPIRED
        return self.answers.get((session, sequence))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25))
def test_any_history_applies_each_number_once(steps):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "SESSIONS_MAX", 2)
        store = Store(Path(directory) / "state")
        try:
            run(store, SessionsModel(), steps)
        finally:
            store.state.close()


def run(store, model, steps):
    opened, applied = [], 0
    for number, step in enumerate(steps):
        if step == "open":
            opened.append(store.open_session(number))
            model.open(opened[-1])
        elif step == "restart":
            store.restart()
        elif step == "snapshot":
            store.install(store.path.with_name(f"copy{number}"))
        elif step == "commit":
            store.state.commit()
        else:
            applied += entry(store, model, opened[-3:], step)
    assert sum(store.version(key) for key in KEYS) == applied
    assert store.state.revision == 1 + applied


def entry(store, model, opened, messages):
    """Apply one entry and compare; returns how many requests were new."""
    stamped = []
    for which, sequence, below, requests in messages:
        known = 0 < which <= len(opened)
        stamp = (opened[which - 1], sequence, min(sequence, below)) if known else None
        stamped.append((stamp, tuple(requests)))
    answers = store.entry(*stamped)
    fresh = 0
    for (stamp, requests), answer in zip(stamped, answers, strict=True):
        expected = model.expected(stamp) if stamp else None
        if expected is None:
            assert len(answer) == len(requests)
            assert all(result[0] == 0 for result in answer)
            fresh += len(requests)
            if stamp:
                model.answers[stamp[:2]] = answer
        else:
            assert answer == expected
    return fresh
