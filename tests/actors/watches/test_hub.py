"""What the node does for watches beyond test_watch_rules.py: limits, clocks, shares."""

import pytest
from sampan.actors.watches.hub import WatchHub
from sampan.config import limits
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import unpack_local
from sampan.transport.watches import FRAGMENT, PROGRESS_NOTIFY, REQUIRE_LEADER

from .model import WatchNode


@pytest.fixture
def node(tmp_path):
    made = WatchNode(tmp_path)
    yield made
    made.close()


def both(node):
    node.applier_turn()
    node.node_turn()


def create(key=b"a", end=b"", start=0, flags=0, watch_id=0):
    return ("create", key, end, start, flags, watch_id)


def puts(node, count, key=b"a", size=0):
    for n in range(count):
        node.write(("put", key, b"%d" % n + bytes(size)))


def pushed(node, client=0):
    """Responses that have arrived and were not read, without answers to requests."""
    bodies = [body for body in node.clients[client].unread if type(body) is bytes]
    return [response for body in bodies for response in unpack_local(body)]


def answers(node, client=0):
    bodies = [body for body in node.clients[client].unread if type(body) is list]
    return [result for body in bodies for _, result in body]


def test_ids_count_from_zero_and_pass_over_those_that_clients_chose(node):
    for watch_id in (0, 0, 3, 0, 0):
        node.ask(0, create(watch_id=watch_id))
    node.ask(1, create())
    both(node)
    assert [result[2] for result in answers(node)] == [0, 1, 3, 2, 4]
    assert answers(node, 1) == [(0, 1, 0)]


def test_an_id_twice_an_unknown_id_and_requests_that_are_none(node):
    node.ask(0, create(watch_id=7))
    node.ask(0, create(watch_id=7), ("cancel", 9), ("cancel", -1), ("create",), ("watch",), "x")
    node.ask(0, create(b"b", b"a"), create(flags=64), create(start=-1), create(start=2**63))
    both(node)
    _, *refused = answers(node)
    texts = [result[1] for result in refused]
    assert texts[:2] == [errors.WATCH_EXISTS.text, errors.WATCH_NOT_FOUND.text]
    assert texts[6] == errors.WATCH_EMPTY_RANGE.text
    assert all("malformed" in text for text in texts[2:6] + texts[7:])
    assert node.hub.watchers == 1


@pytest.mark.parametrize(("limit", "value"), [("WATCHES_MAX", 2), ("WATCH_KEY_BYTES_MAX", 6)])
def test_there_are_only_so_many_watches(node, monkeypatch, limit, value):
    monkeypatch.setattr(limits, limit, value)
    for _ in range(2):
        node.ask(0, *(create(b"key%d" % n) for n in range(3)), ("cancel", 0), ("cancel", 1))
        both(node)
    assert [result[0] for result in answers(node)[:5]] == [0, 0, 8, 0, 0]
    assert [result[0] for result in answers(node)[5:8]] == [0, 0, 8], "their room is free again"
    both(node)
    node.ask(0, ("cancel", 2), ("cancel", 3))
    both(node)
    node.applier_turn()
    assert not node.feed.busy, "nobody is left, also of those that were refused"


def test_nothing_comes_after_the_answer_to_a_cancel(node):
    node.ask(0, create())
    both(node)
    puts(node, 1)
    node.applier_turn()
    node.ask(0, ("cancel", 0))
    node.applier_turn()
    node.node_turn()  # the event and the cancel in one turn
    kinds = [type(body) for body in node.clients[0].unread]
    assert kinds == [list, bytes, list], "created, the event, canceled"


def test_nothing_is_told_while_nobody_watches(node):
    puts(node, 3)
    both(node)
    assert not node.feed.busy
    node.ask(0, create())
    both(node)
    node.ask(0, ("cancel", 0))
    both(node)
    both(node)
    assert not node.feed.busy
    assert not node.hub.busy
    puts(node, 3)
    node.applier_turn()
    assert not node.to_node


def test_only_watched_keys_leave_the_applier(node):
    node.ask(0, create(b"a"))
    both(node)
    puts(node, 100, b"b")
    puts(node, 1, b"a")
    node.applier_turn()
    ((kind, revision, events, _),) = node.to_node
    assert (kind, revision) == ("live", 102)
    assert [event[0] for event in events] == [102]


def test_a_client_that_does_not_read_gets_no_more_than_its_window(node):
    node.ask(0, create())
    node.ask(1, create())
    for _ in range(50):
        puts(node, 1, size=100_000)
        both(node)
        node.clients[1].read(1000)
        node.ask(1, ("ack",))
    node.settle_node()
    behind = pushed(node)
    assert 0 < len(behind) <= limits.WATCH_WINDOW_BYTES // 100_000 + 1
    (stream,) = node.clients[1].streams.values()
    assert len(stream.told) == 50, "the others notice nothing"
    node.settle()
    node.check(whole=True)


def test_a_node_that_does_not_take_events_is_not_sent_more_than_so_many(node, monkeypatch):
    """They would wait in its memory; it reads them from history when it comes to them."""
    monkeypatch.setattr(limits, "WATCH_FEED_BYTES", 10_000)
    node.ask(0, create())
    both(node)
    for _ in range(50):
        puts(node, 1, size=1_000)
        node.applier_turn()
    sizes = [message[3] for message in node.to_node if message[0] == "live"]
    assert 10_000 < sum(sizes) < 10_000 + 2 * sizes[0]
    node.settle()
    node.check(whole=True)


def test_a_large_reply_that_was_not_reported_yet_stalls_nobody(node):
    node.ask(0, create())
    both(node)
    node.clients[0].window[0] += 10 * limits.WATCH_WINDOW_BYTES
    puts(node, 1)
    both(node)
    assert len(pushed(node)) == 1


def test_a_window_that_the_node_forgot_and_began_anew_stalls_nobody(node):
    """It keeps those of the last ten thousand connections only."""
    node.ask(0, create())
    for _ in range(limits.WATCH_WINDOW_MESSAGES):
        puts(node, 1)
        both(node)
    assert len(pushed(node)) == limits.WATCH_WINDOW_MESSAGES
    node.clients[0].window = [5, 5]
    node.ask(0, ("ack",))
    both(node)
    puts(node, 1)
    both(node)
    assert len(pushed(node)) == limits.WATCH_WINDOW_MESSAGES + 1


def test_many_small_messages_fill_the_window_too(node):
    node.ask(0, create())
    for _ in range(limits.WATCH_WINDOW_MESSAGES + 10):
        puts(node, 1)
        both(node)
    assert len(pushed(node)) == limits.WATCH_WINDOW_MESSAGES
    node.settle()
    node.check(whole=True)


def test_watches_that_catch_up_share_what_is_read(node, monkeypatch):
    puts(node, 2_000)
    node.applier_turn()
    read = []
    history = StateStore.history

    def counted(state, first, *rest):
        read.append(first)
        return history(state, first, *rest)

    monkeypatch.setattr(StateStore, "history", counted)
    for n in range(100):
        node.ask(n % 3, create(start=1 + n))
    node.settle()
    node.check(whole=True)
    assert len(read) < 10


def test_who_waits_far_ahead_is_not_held_up_by_those_that_come_after(node, monkeypatch):
    """Each pass over history goes on from where the step before ended."""
    monkeypatch.setattr(limits, "WATCH_STEP_CHUNKS", 1)
    puts(node, 2_000)
    node.applier_turn()
    node.ask(0, create(start=1_990))
    node.ask(1, create(start=1))
    both(node)
    steps = 0
    while not pushed(node):
        steps += 1
        assert steps < 40, "the late one waits for ever"
        node.ask(1, create(start=1))  # somebody new begins from the beginning, again and again
        node.timer()
        both(node)
        node.clients[1].read(1000)


@pytest.mark.parametrize("compact", [0, 4, 900])
def test_a_snapshot_replaces_the_state_under_a_watch(node, compact):
    """What is in it and was not told comes from its history; what is not in it is never skipped."""
    node.ask(0, create())
    both(node)
    puts(node, 2)
    both(node)
    puts(node, 1_000)
    if compact:
        node.write(("compact", compact))
    node.install_snapshot()
    node.settle()
    node.check(whole=True)
    canceled = [stream.canceled for stream in node.clients[0].ended]
    assert canceled == ([[1003, 900, errors.COMPACTED.text]] if compact == 900 else [])


def test_a_long_transaction_comes_in_fragments_when_asked_for(node):
    big = tuple(("put", b"a%d" % n, bytes(1_000_000)) for n in range(4))
    node.ask(0, create(b"a", b"b", flags=FRAGMENT))
    node.ask(1, create(b"a", b"b"))
    both(node)
    node.write(("txn", (), big, ()))
    both(node)
    assert [(more, len(events)) for _, _, _, more, events in pushed(node)] == [
        (True, 1), (True, 1), (True, 1), (False, 1),
    ]  # fmt: skip
    assert [(more, len(events)) for _, _, _, more, events in pushed(node, 1)] == [(False, 4)]


def test_progress_is_notified_to_quiet_watches_that_asked_for_it(node, monkeypatch):
    first_round = limits.WATCH_PROGRESS_S
    monkeypatch.setattr(node.hub, "_progress_s", 10.0)
    node.timer(first_round)
    node.ask(0, create(flags=PROGRESS_NOTIFY), create(b"b", flags=PROGRESS_NOTIFY), create())
    node.ask(0, create(start=5, flags=PROGRESS_NOTIFY))
    both(node)
    puts(node, 1)
    both(node)
    assert [response[1] for response in pushed(node)] == [0, 2]
    node.timer(10.0)
    assert pushed(node)[2:] == [("progress", 1, 2)], "not before the start, not after events"
    node.timer(10.0)
    assert sorted(pushed(node)[3:]) == [("progress", 0, 2), ("progress", 1, 2)]


def test_progress_waits_until_every_watch_of_the_connection_is_up_to_date(node, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_STEP_CHUNKS", 1)
    puts(node, 1_000)
    node.applier_turn()
    node.ask(0, create(b"x"), create(start=2))
    node.ask(0, ("progress",))
    node.ask(1, create(b"x"), ("progress",))
    both(node)
    assert ("progress", -1, 1001) not in pushed(node)
    assert pushed(node, 1) == [("progress", -1, 1001)], "others do not wait"
    node.settle_node()
    assert pushed(node)[-1] == ("progress", -1, 1001)


def test_an_ack_tells_how_far_all_watches_of_the_connection_were_told(node, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_STEP_CHUNKS", 1)
    puts(node, 1_000)
    node.applier_turn()
    node.ask(0, create(b"x"), create(b"y", start=5_000))
    node.ask(0, ("ack",))
    node.ask(1, create(b"x"), create(start=2), ("ack",))
    both(node)
    assert answers(node)[-1] == (0, 1001, 2, 1001), "of a quiet one and one in the future"
    assert answers(node, 1)[-1] == (0, 1001, 2, 1), "history was not read yet"
    node.settle_node()
    node.ask(1, ("ack",))
    both(node)
    assert answers(node, 1)[-1] == (0, 1001, 2, 1001)


def test_a_watch_that_waits_for_its_reader_was_told_what_it_was_sent(node, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_WINDOW_MESSAGES", 2)
    node.ask(0, create(), create(b"quiet"))
    both(node)
    for _ in range(4):
        puts(node, 1)
        both(node)
    node.ask(0, ("ack",))
    both(node)
    revisions = [revision for _, _, revision, _, _ in pushed(node)]
    assert answers(node)[-1] == (0, 5, 2, revisions[-1])
    assert revisions[-1] < 5


def test_a_silent_client_loses_its_watches_and_a_talking_one_does_not(node):
    node.ask(0, create())
    node.ask(1, create())
    both(node)
    for _ in range(3):
        node.timer(limits.WATCH_SILENCE_S / 2.5)
        node.ask(1, ("ack",))
        both(node)
    assert pushed(node) == [("canceled", 0, 1, 0, errors.WATCH_SILENT.text)]
    assert node.hub.watchers == 1
    node.ask(0, ("ack",))
    both(node)
    assert answers(node)[-1] == (0, 1, 0, 1), "it has none, and is told so"


def test_who_needs_a_leader_is_told_when_there_is_none(node):
    node.ask(0, create(flags=REQUIRE_LEADER), create())
    both(node)
    node.hub.on_timer(node.now + limits.WATCH_NO_LEADER_S, 0)
    assert pushed(node) == []
    node.now += limits.WATCH_NO_LEADER_S + 2
    node.hub.on_timer(node.now, 0)
    assert pushed(node) == [("canceled", 0, 1, 0, errors.NO_LEADER.text)]
    node.ask(0, create(flags=REQUIRE_LEADER))
    both(node)
    assert answers(node)[-1][1] == errors.NO_LEADER.text
    node.hub.on_timer(node.now, 1)
    node.ask(0, create(flags=REQUIRE_LEADER))
    both(node)
    assert answers(node)[-1][0] == 0


def test_a_client_that_a_message_did_not_reach_is_dropped(node):
    node.ask(0, create(), create())
    node.ask(1, create())
    both(node)
    node.hub.drop(bytes([0]), errors.WATCH_DROPPED)
    both(node)
    assert node.hub.watchers == 1
    puts(node, 1)
    both(node)
    assert len(pushed(node, 1)) == 1


def test_ten_thousand_watches_of_a_key_each_cost_a_put_no_more_than_one(node):
    for n in range(0, 10_000, 1_000):
        node.ask(0, *(create(b"%d" % each) for each in range(n, n + 1_000)))
    both(node)
    assert node.hub.watchers == 10_000
    seen = []
    at = WatchHub._hand_out

    def counted(hub, work):
        seen.append(at(hub, work))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WatchHub, "_hand_out", counted)
        puts(node, 5, b"77")
        both(node)
    assert sum(seen) == 5


def test_a_put_that_everybody_watches_is_handed_out_over_several_turns(node, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_TURN_PAIRS", 100)
    node.ask(0, *(create() for _ in range(60)))
    node.ask(1, *(create() for _ in range(60)))
    both(node)
    puts(node, 10)
    node.applier_turn()
    node.node_turn()
    first = len(pushed(node))
    assert 0 < first < 60 * 10
    assert node.hub.wake_at == node.now
    node.settle()
    node.check(whole=True)
