"""What actors remember of entries."""

from sampan.actors import flight
from sampan.actors.flight import Flight, Origin, Origins
from sampan.raft import Entry, EntryType, Message, MessageType


def recorder():
    times = iter(range(1_000_000))
    return Flight(lambda: float(next(times)))


def test_steps_are_found_by_entry_and_by_batch():
    known = recorder()
    known.note("propose", 1 << 40, 1 << 40)
    known.note("readyc", 5, 7)
    known.note("readyc", 8, 8)
    known.note_at("clientc", 1 << 41, 0.5)
    assert known.about((6, 1 << 40)) == [("propose", 0.0, 0), ("readyc", 1.0, 0)]
    assert known.about((8,)) == [("readyc", 2.0, 0)]
    assert known.about((1 << 41,)) == [("clientc", 0.5, 0)]
    assert known.about((9,)) == []


def test_the_first_acknowledgement_of_each_peer_counts():
    known = recorder()
    entries = [Entry(term=1, index=i, type=EntryType.EntryNormal, data=b"") for i in (4, 5)]
    known.note_received(Message(MessageType.MsgApp, entries=entries), 2)
    known.note_received(Message(MessageType.MsgApp), 2)
    for index, peer in ((3, 2), (5, 2), (6, 2), (9, 3)):
        known.note_received(Message(MessageType.MsgAppResp, index=index), peer)
    assert known.about((5,)) == [
        ("recvc", 0.0, 2), ("acknowledged", 2.0, 2), ("acknowledged", 4.0, 3),
    ]  # fmt: skip


def test_it_forgets_the_oldest():
    known = recorder()
    for index in range(flight.EVENTS + 1):
        known.note("readyc", index, index)
    assert known.about((0,)) == []
    assert known.about((1,)) != []


def test_a_revision_is_traced_to_the_entry_that_made_it():
    origins = Origins()
    for revision, entry in ((10, 4), (10, 5), (13, 6)):
        origins.note(revision, Origin(entry, 1, 1, 100 + entry))
    assert origins.of(10) is None, "an entry before the first that is known may have made it"
    assert [origins.of(r).entry for r in (11, 12, 13)] == [6, 6, 6]
    assert origins.of(14) is None


def test_what_came_with_a_snapshot_has_no_entry():
    origins = Origins()
    origins.note(3, None)
    assert origins.of(3) is None
    origins.note(4, Origin(7, 1, 1, 100))
    assert origins.of(4).entry == 7, "the first entry since the start"
    origins.note(90, None)
    assert origins.of(50) is None
