"""The node as clients see it, without sockets: what it admits, batches, answers and lets go."""

import pytest
from sampan.actors.node import Node, NodeSettings
from sampan.actors.reads import READ_INDEX_RETRY_S
from sampan.config import limits
from sampan.security.auth import Auth
from sampan.transport import errors, requests
from sampan.transport.codec import pack, unpack

from .helpers import take, tick, turn, wake

SETTINGS = NodeSettings(
    cluster_id=7, member_id=1, name="n1", client_advertise=("127.0.0.1:1",), incarnation=5,
    request_timeout_s=7.0, version="test", id_seed=0,
)  # fmt: skip
NOBODY_IS_ASKED = ("authc", ("auth", Auth().dump()))
PUT = ("put", b"k", b"v")
RANGE = ("range", b"k")


@pytest.fixture
def node(log):
    """A node that knows a leader."""
    node = Node(SETTINGS, log)
    turn(node, NOBODY_IS_ASKED, ("softstatec", (1, 2, "follower")), now=100.0)
    return node


def ask(
    kind, requests, *, client=b"c", message_id=1, timeout_ms=0, received=0, version=1, stamp=()
):
    body = requests if type(requests) is bytes else pack(requests)
    header = pack((version, message_id, kind, timeout_ms, received, *stamp))
    return "clientc", (client, header, body)


def later(node):
    """When a node does not hold back any more what could go with the next write."""
    return node.now + limits.PROPOSAL_HOLD_S


def replies(emitted):
    """(client, message id, decoded body) of each reply."""
    return [(c, unpack(h)[1], unpack(b)) for c, h, b in emitted.on("replyc")]


def large_replies(emitted):
    """(read id, body) of each."""
    return [(read_id, body) for read_id, _, _, body in emitted.on("largec")]


def proposed(emitted):
    """(batch id, bodies) of each proposal."""
    found = []
    for batch_id, payload in emitted.on("propc"):
        origin, inner_id, bodies = unpack(payload)
        assert (origin, inner_id) == (SETTINGS.member_id, batch_id)
        found.append((batch_id, [unpack(body) for body in bodies]))
    return found


def done(batch_id, *results):
    return "resultc", ("write", batch_id, [pack(result) for result in results])


# -- writes


def test_all_writes_of_a_turn_become_one_entry_and_everyone_gets_the_own_answer(node):
    out = turn(
        node,
        ask("write", [PUT, PUT], client=b"a", message_id=3),
        ask("write", [PUT], client=b"b", message_id=4),
    )
    ((batch_id, bodies),) = proposed(out)
    assert bodies == [(PUT, PUT), (PUT,)]
    out = turn(node, done(batch_id, [(0, 2), (0, 3)], [(0, 4)]))
    assert replies(out) == [(b"a", 3, ((0, 2), (0, 3))), (b"b", 4, ((0, 4),))]
    assert node.idle


def test_writes_that_come_while_an_entry_is_under_way_go_together(node):
    ((first, _),) = proposed(turn(node, ask("write", [PUT])))
    assert proposed(turn(node, ask("write", [PUT], message_id=2))) == []
    assert proposed(turn(node, ask("write", [PUT], message_id=3))) == []
    out = turn(node, done(first, [(0, 2)]))
    ((second, bodies),) = proposed(out)
    assert bodies == [(PUT,), (PUT,)]
    assert replies(out) == [(b"c", 1, ((0, 2),))]
    out = turn(node, done(second, [(0, 3)], [(0, 4)]), ask("write", [PUT], message_id=4))
    assert len(proposed(out)) == 1, "nothing is under way"


def test_writes_are_held_back_for_a_bounded_time(node):
    """The entry under way may be lost."""
    turn(node, ask("write", [PUT]))
    assert proposed(turn(node, ask("write", [PUT], message_id=2))) == []
    assert node.wake_at == later(node)
    node.now = node.wake_at
    assert len(proposed(wake(node))) == 1


def test_many_writes_wait_for_none_under_way(node):
    turn(node, ask("write", [PUT]))
    large = ("put", b"k", b"v" * limits.PROPOSAL_HOLD_BYTES)
    assert len(proposed(turn(node, ask("write", [large])))) == 1


def test_replies_tell_who_answered_and_who_leads(node):
    out = turn(node, ask("nonsense", [PUT], message_id=9))
    ((_, header, _),) = out.on("replyc")
    assert unpack(header) == (1, 9, 7, 1, 1, 2)


def test_an_entry_is_closed_at_its_size(node):
    big = ("put", b"k", bytes(300_000))
    out = turn(node, *(ask("write", [big], message_id=n) for n in range(5)))
    assert [len(bodies) for _, bodies in proposed(out)] == [2, 2, 1]


def test_an_entry_never_holds_more_messages_than_a_member_can_decode(node):
    """Small writes pile up while there is no leader."""
    turn(node, ("softstatec", (2, 0, "follower")))
    count = limits.BODY_REQUESTS_MAX + 10
    for n in range(count):
        node.handle(*ask("write", [PUT], message_id=n))
    out = turn(node, ("softstatec", (2, 3, "follower")))
    entries = proposed(out)  # decodes with the limits that the applier has
    assert sum(len(bodies) for _, bodies in entries) == count


def test_without_a_leader_writes_are_held_and_then_certainly_not_applied(node):
    turn(node, ("softstatec", (2, 0, "follower")))
    out = turn(node, ask("write", [PUT], timeout_ms=1000))
    assert out == []
    assert tick(node, 100.9).on("replyc") == []
    assert replies(tick(node, 101.1)) == [(b"c", 1, tuple(errors.NO_LEADER))]
    out = turn(node, ("softstatec", (2, 3, "follower")))
    assert proposed(out) == []


def test_a_proposed_write_that_is_not_answered_is_unknown(node):
    ((batch_id, _),) = proposed(turn(node, ask("write", [PUT], timeout_ms=1000)))
    assert replies(tick(node, 101.1)) == [(b"c", 1, tuple(errors.TIMEOUT))]
    assert errors.TIMEOUT.outcome == "unknown"
    out = turn(node, done(batch_id, [(0, 2)]))
    assert out.on("replyc") == []


def test_one_late_message_of_a_batch_does_not_shift_the_others_answers(node):
    out = turn(
        node,
        ask("write", [PUT], client=b"a", timeout_ms=1000),
        ask("write", [PUT], client=b"b", timeout_ms=5000),
    )
    ((batch_id, _),) = proposed(out)
    tick(node, 102.0)
    out = turn(node, done(batch_id, [(0, 2)], [(0, 3)]))
    assert replies(out) == [(b"b", 1, ((0, 3),))]


def test_the_nodes_own_timeout_is_the_longest(node):
    turn(node, ask("write", [PUT], timeout_ms=3_600_000))
    assert replies(tick(node, 100.0 + SETTINGS.request_timeout_s + 0.1)) != []


def test_a_dropped_batch_waits_for_the_next_leader_in_its_place(node):
    out = turn(node, ask("write", [PUT], message_id=1))
    ((first, _),) = proposed(out)
    out = turn(node, ("dropc", first), ask("write", [PUT], message_id=2))
    assert proposed(out) == []
    out = turn(node, ("softstatec", (2, 3, "follower")))
    ((second, bodies),) = proposed(out)
    assert second != first
    assert len(bodies) == 2
    out = turn(node, done(second, [(0, 2)], [(0, 3)]))
    assert [r[1:] for r in replies(out)] == [(1, ((0, 2),)), (2, ((0, 3),))]


def test_a_batch_dropped_while_the_leader_stays_is_proposed_again_in_a_moment(node):
    """Raft refuses proposals for want of room, too, and no news of a leader follows that."""
    ((first, _),) = proposed(turn(node, ask("write", [PUT]), now=1.0))
    assert proposed(turn(node, ("dropc", first), now=1.0)) == []
    ((second, bodies),) = proposed(tick(node, 1.0 + 2 * node.timer_s))
    assert second != first
    assert len(bodies) == 1


def test_bad_requests_are_refused_one_by_one(node):
    bad = ("put", b"", b"v")
    large = ("put", b"k", bytes(limits.REQUEST_BYTES_MAX + 1))
    out = turn(node, ask("write", [bad, PUT, ("fly",), PUT, large]))
    ((batch_id, bodies),) = proposed(out)
    assert bodies == [(PUT, PUT)]
    out = turn(node, done(batch_id, [(0, 2), (0, 3)]))
    ((_, _, results),) = replies(out)
    assert results[0] == tuple(errors.EMPTY_KEY)
    assert results[1] == (0, 2)
    assert results[2][0] == errors.INVALID_ARGUMENT
    assert results[3] == (0, 3)
    assert results[4] == tuple(errors.REQUEST_TOO_LARGE)


def test_only_bad_requests_make_no_entry(node):
    out = turn(node, ask("write", [("put", b"", b"")]))
    assert proposed(out) == []
    assert replies(out) == [(b"c", 1, (tuple(errors.EMPTY_KEY),))]
    assert node.idle


def test_writes_under_way_are_bounded_in_bytes(node):
    body = pack([("put", b"k", bytes(1_000_000))])
    count = limits.PENDING_BYTES_MAX // len(body)
    batches = []
    for n in range(count):
        batches += proposed(turn(node, ask("write", body, message_id=n)))
    out = turn(node, ask("write", body))
    assert replies(out) == [(b"c", 1, tuple(errors.TOO_MANY_REQUESTS))]
    turn(node, done(batches[0][0], [(0, 2)]))
    assert len(proposed(turn(node, ask("write", body)))) == 1


def test_nothing_stays_counted_when_all_has_been_answered(node):
    """Held, dropped, timed out and late: the bounds must open again each time."""
    turn(node, ask("write", [PUT], timeout_ms=100), ask("read", [RANGE], timeout_ms=100))
    ((batch_id, _),) = proposed(turn(node, ask("write", [PUT], timeout_ms=2000), now=later(node)))
    turn(node, ("dropc", batch_id))
    turn(node, ask("write", [PUT], timeout_ms=100), ask("serializable", [RANGE], timeout_ms=100))
    tick(node, 101.0)
    tick(node, 110.0)
    status = status_of(node)
    assert {name: n for name, n in status.items() if name.startswith("pending") and n} == {}


def test_a_lease_is_granted_for_the_shortest_time_at_least(log):
    node = Node(SETTINGS._replace(lease_ttl_min_s=5), log)
    turn(node, ("softstatec", (1, 2, "follower")))
    ((_, ((grant,),)),) = proposed(turn(node, ask("write", [("lease_grant", 7, 1)])))
    assert grant == ("lease_grant", 7, 5)


# -- writes of a session


def payloads(emitted):
    return [unpack(payload)[2:] for _, payload in emitted.on("propc")]


def test_stamps_travel_beside_the_messages_and_only_when_there_are_some(node):
    out = turn(node, ask("write", [PUT]), ask("write", [PUT], stamp=(5, 3, 2)))
    body = pack([PUT])
    assert payloads(out) == [((body, body), (None, (5, 3, 2)))]
    assert payloads(turn(node, ask("write", [PUT]), now=later(node))) == [((body,),)]


def test_what_was_refused_is_part_of_a_stamped_messages_answer(node):
    """Another attempt may have been refused differently; what is kept is the whole answer."""
    out = turn(node, ask("write", [("put", b"", b""), PUT], stamp=(5, 3, 2)))
    assert payloads(out) == [((pack([PUT]),), ((5, 3, 2, ((0, tuple(errors.EMPTY_KEY)),)),))]
    ((batch_id, _),) = out.on("propc")
    kept = [tuple(errors.EMPTY_KEY), (0, 2)]
    assert replies(turn(node, done(batch_id, kept))) == [(b"c", 1, tuple(kept))]


def test_an_entry_has_a_bound_whatever_its_messages_refused(node):
    """What is refused in a numbered message goes into the log, beside the little that is not."""
    many = [None] * limits.REFUSED_MAX + [PUT]
    out = turn(node, *(ask("write", many, stamp=(5, n, 1), message_id=n) for n in range(1, 30)))
    assert max(len(payload) for _, payload in out.on("propc")) < 4 * limits.MIB
    assert status_of(node)["pending_bytes"] > 29 * limits.REFUSED_MAX * 90
    out = turn(node, ask("write", [None, *many], stamp=(5, 40, 1)), now=later(node))
    assert out.on("propc") == []
    ((_, _, error),) = replies(out)
    assert error[1].startswith("sampan: malformed request: more than 2000 requests")


@pytest.mark.parametrize(
    ("kind", "stamp"),
    [
        ("write", (5,)),
        ("write", (5, 1)),
        ("write", (5, 1, 1, 1)),
        ("write", (0, 1, 1)),
        ("write", (5, 1, 2)),
        ("write", (5, 1, -1)),
        ("write", (5, None, 1)),
        ("read", (5, 1, 1)),
    ],
)
def test_a_header_with_a_wrong_stamp_is_dropped(node, kind, stamp):
    assert turn(node, ask(kind, [PUT], stamp=stamp)) == [("strangec", b"c")]
    assert node.dropped == 1


def test_what_an_earlier_leader_has_lost_is_unknown_as_soon_as_the_next_one_works(node):
    """It may be in the next leader's log: then its result comes before that leader's first entry
    has been applied."""
    lost, kept = (ask("write", [PUT], message_id=n) for n in (1, 2))
    turn(node, lost)
    ((kept_id, _),) = proposed(turn(node, kept, now=later(node)))
    turn(node, ("softstatec", (2, 3, "follower")))
    ((new_id, _),) = proposed(turn(node, ask("write", [PUT], message_id=3), now=later(node)))
    out = turn(node, done(kept_id, [(0, 2)]), ("termc", 2))
    assert replies(out) == [(b"c", 2, ((0, 2),)), (b"c", 1, tuple(errors.LEADER_FAILED))]
    assert errors.LEADER_FAILED.outcome == "unknown"
    assert replies(turn(node, done(new_id, [(0, 3)]))) == [(b"c", 3, ((0, 3),))]
    assert status_of(node)["pending_bytes"] == 0
    assert node.idle


# -- the way to the leader


def test_while_there_is_no_way_to_the_leader_nothing_is_forwarded(node):
    """It would be lost, and whoever asked would wait for a timeout."""
    assert turn(node, ("linkedc", (2, False))) == []
    assert turn(node, ask("write", [PUT]), ask("read", [RANGE], message_id=2)) == []
    assert turn(node, ("linkedc", (3, True))) == [], "which does not lead"
    out = turn(node, ("linkedc", (2, True)))
    assert len(proposed(out)) == len(out.on("readindexc")) == 1


def test_what_could_not_be_forwarded_in_time_was_certainly_not_applied(node):
    turn(node, ("linkedc", (2, False)), ask("write", [PUT], timeout_ms=1000))
    assert replies(tick(node, 101.1)) == [(b"c", 1, tuple(errors.NO_LEADER))]
    assert turn(node, ("linkedc", (2, True))) == []


def test_a_link_to_nobody_who_leads_holds_nothing_up(node):
    assert len(proposed(turn(node, ("linkedc", (3, False)), ask("write", [PUT])))) == 1


def test_writes_of_a_session_that_may_be_lost_are_proposed_again(node):
    """Twice does no harm, and the first answer is the answer."""
    ((first, _),) = turn(node, ask("write", [PUT], stamp=(5, 3, 2))).on("propc")
    ((other, _),) = turn(node, ask("write", [PUT], message_id=2), now=later(node)).on("propc")
    assert turn(node, ("linkedc", (2, False)), ("linkedc", (3, True))) == []
    out = turn(node, ("linkedc", (2, True)))
    assert [batch_id for batch_id, _ in out.on("propc")] == [first], (
        "of what has no session nobody could tell that it is there already"
    )
    assert payloads(out) == [((pack([PUT]),), ((5, 3, 2),))]
    assert replies(turn(node, done(first, [(0, 2)]))) == [(b"c", 1, ((0, 2),))]
    assert replies(turn(node, done(first, [(0, 2)]))) == []
    assert replies(turn(node, done(other, [(0, 3)]))) == [(b"c", 2, ((0, 3),))]
    assert node.idle


def test_a_session_is_opened_again(node):
    """Twice is one too many, which nobody uses; but with anything else it would happen twice."""
    opening = ("session_open", 9)
    ((alone, _),) = turn(node, ask("write", [opening])).on("propc")
    turn(node, ask("write", [opening, PUT], message_id=2), now=later(node))
    turn(node, ask("write", [("put", b"k", b"session_open")], message_id=3), now=later(node))
    turn(node, ("linkedc", (2, False)))
    out = turn(node, ("linkedc", (2, True)))
    assert [batch_id for batch_id, _ in out.on("propc")] == [alone]


def test_of_what_was_proposed_again_nobody_says_that_it_was_not_applied(node):
    ((batch_id, _),) = turn(node, ask("write", [PUT], stamp=(5, 3, 2))).on("propc")
    turn(node, ("linkedc", (2, False)), ("linkedc", (2, True)))
    turn(node, ("dropc", batch_id))  # the second time; the first may be on its way
    assert replies(tick(node, 108.0)) == [(b"c", 1, tuple(errors.TIMEOUT))]
    assert errors.TIMEOUT.outcome == "unknown"


def test_a_read_index_that_may_be_lost_is_asked_for_again_at_once(node):
    (first,) = turn(node, ask("read", [RANGE])).on("readindexc")
    turn(node, ("linkedc", (2, False)))
    (second,) = turn(node, ("linkedc", (2, True))).on("readindexc")
    assert second != first


# -- reads


def test_all_linearizable_reads_wait_behind_one_context(node):
    out = turn(node, ask("read", [RANGE], client=b"a"), ask("read", [RANGE], client=b"b"))
    (context,) = out.on("readindexc")
    assert out.on("readc") == []
    out = turn(node, ("readstatec", (context, 17)))
    ((index, reads),) = out.on("readc")
    assert index == 17
    answer = (0, 2, 0, False, ())
    out = turn(node, ("resultc", ("read", [(read_id, pack([answer])) for read_id, *_ in reads])))
    assert replies(out) == [(b"a", 1, (answer,)), (b"b", 1, (answer,))]


def test_reads_that_come_later_never_use_a_context_that_was_asked_before_them(node):
    (first,) = turn(node, ask("read", [RANGE], client=b"a")).on("readindexc")
    assert turn(node, ask("read", [RANGE], client=b"b")).on("readindexc") == []
    out = turn(node, ("readstatec", (first, 17)))
    ((_, reads),) = out.on("readc")
    assert len(reads) == 1
    (second,) = out.on("readindexc")
    assert second != first


def test_a_context_is_asked_again_but_never_the_same(node):
    (first,) = turn(node, ask("read", [RANGE])).on("readindexc")
    (second,) = tick(node, 100.0 + READ_INDEX_RETRY_S + 0.1).on("readindexc")
    assert second != first
    out = turn(node, ("readstatec", (first, 17)))
    assert out.on("readc") == [], "a late confirmation of the first round was believed"
    out = turn(node, ("readstatec", (second, 18)))
    assert [index for index, _ in out.on("readc")] == [18]


def test_a_new_leader_is_asked_with_a_new_context(node):
    (first,) = turn(node, ask("read", [RANGE])).on("readindexc")
    out = turn(node, ("softstatec", (2, 3, "follower")))
    (second,) = out.on("readindexc")
    assert second != first
    assert turn(node, ("readstatec", (first, 17))).on("readc") == []
    assert len(turn(node, ("readstatec", (second, 18))).on("readc")) == 1


def test_contexts_of_two_lives_of_a_node_differ(log):
    contexts = []
    for seed in (1, 2):
        node = Node(SETTINGS._replace(id_seed=seed), log)
        turn(node, ("softstatec", (1, 2, "follower")))
        contexts += turn(node, ask("read", [RANGE])).on("readindexc")
    assert contexts[0] != contexts[1]


def test_serializable_reads_ask_nobody(node):
    turn(node, ("softstatec", (2, 0, "follower")))
    out = turn(node, ask("serializable", [RANGE]))
    assert out.on("readindexc") == []
    assert [index for index, _ in out.on("readc")] == [0]


def test_reads_that_are_not_answered_in_time(node):
    turn(node, ask("read", [RANGE], client=b"a", timeout_ms=500))
    turn(node, ask("serializable", [RANGE], client=b"b", timeout_ms=500))
    late = replies(tick(node, 101.0))
    assert sorted(late) == [
        (b"a", 1, tuple(errors.READ_TIMEOUT)),
        (b"b", 1, tuple(errors.READ_TIMEOUT)),
    ]


def test_a_read_that_found_no_leader_in_time_says_so(node):
    turn(node, ("softstatec", (2, 0, "follower")), ask("read", [RANGE], timeout_ms=500))
    assert replies(tick(node, 101.0)) == [(b"c", 1, tuple(errors.NO_LEADER))]


def test_writes_are_not_reads(node):
    for kind, request in (("read", PUT), ("serializable", PUT), ("write", RANGE)):
        ((_, _, results),) = replies(turn(node, ask(kind, [request])))
        assert results[0][0] == errors.INVALID_ARGUMENT


# -- flow control


def test_a_client_that_does_not_read_is_refused_until_it_does(node):
    value = bytes(1 << 20)
    result = pack([(0, 2, 1, False, [(b"k", 2, 2, 1, 0, value)])])

    def read(received, client=b"c"):
        out = turn(node, ask("serializable", [RANGE], received=received, client=client))
        ((_, ((read_id, *_),)),) = out.on("readc")
        return turn(node, ("resultc", ("read", [(read_id, result)])))

    sent = 0
    while found := large_replies(out := read(0)):
        sent += len(found[0][1])
    assert sent + len(result) > limits.REPLY_WINDOW_BYTES
    assert replies(out) == [(b"c", 1, tuple(errors.TOO_MANY_REQUESTS))]
    assert large_replies(read(0, client=b"other"))
    assert large_replies(read(sent)), "it has read everything, and is served again"


def test_reads_under_way_cannot_overflow_the_window_of_a_client_that_does_not_read(node):
    """They were let in together, before the first answer was known to be large."""
    result = pack([(0, 2, 1, False, [(b"k", 2, 2, 1, 0, bytes(40 << 20))])])
    out = turn(node, *(ask("serializable", [RANGE], message_id=n) for n in range(4)))
    answers = [(read_id, result) for _, ((read_id, *_),) in out.on("readc")]
    first, *others = (read_id for read_id, _ in answers)
    out = turn(node, ("resultc", ("read", answers)))
    assert large_replies(out) == [(first, result)]
    assert [body for _, _, body in out.on("replyc")] == [pack(errors.TOO_MANY_REQUESTS)] * 3
    assert out.on("leftc") == [[read_id] for read_id in others]


def test_writes_with_answers_of_any_size_are_bounded_in_one_message(node):
    everything = ("delete", b"a", b"\0", requests.DELETE_PREV_KV)
    branches = ([], [("put", b"k", b"v"), ("txn", [], [("range", b"a", b"\0")], [])], [])
    for large in (everything, ("txn", *branches)):
        many = [large] * (limits.LARGE_ANSWERS_MAX + 1)
        out = turn(node, ask("write", [PUT, *many]), now=later(node))
        ((_, payload),) = out.on("propc")
        (body,) = unpack(payload)[2]
        assert len(unpack(body)) == 1 + limits.LARGE_ANSWERS_MAX
    small = [("delete", b"a", b"\0"), ("txn", [], [PUT], [])] * limits.LARGE_ANSWERS_MAX
    ((_, payload),) = turn(node, ask("write", small), now=later(node)).on("propc")
    assert len(unpack(unpack(payload)[2][0])) == len(small)


def test_an_error_of_a_whole_message_beside_a_refused_request(node):
    out = turn(node, ask("inspect", [("hash_kv",), ("nonsense",)]))
    ((read_id, *_),) = out.on("inspectc")
    out = turn(node, ("resultc", ("read", [(read_id, pack(errors.TOO_MANY_REQUESTS))])))
    assert replies(out) == [(b"c", 1, tuple(errors.TOO_MANY_REQUESTS))]


def test_a_long_range_beside_a_refused_request(node):
    kvs = [(b"%d" % n, 2, 2, 1, 0, b"") for n in range(limits.BODY_REQUESTS_MAX + 1)]
    out = turn(node, ask("serializable", [RANGE, ("range", b"")]))
    ((_, ((read_id, *_),)),) = out.on("readc")
    out = turn(node, ("resultc", ("read", [(read_id, pack([(0, 2, len(kvs), False, kvs)]))])))
    ((_, body),) = large_replies(out)
    good, bad = unpack(body, array_max=10**6)
    assert len(good[4]) == len(kvs)
    assert bad == tuple(errors.EMPTY_KEY)


def test_a_client_cannot_claim_to_have_received_more_than_was_sent(node):
    turn(node, ask("serializable", [RANGE], received=0))
    turn(node, ask("serializable", [RANGE], received=2**63))
    assert node._windows[b"c"][1] <= node._windows[b"c"][0]


def test_a_client_that_a_reply_did_not_reach_watches_no_more(node):
    ((_, number, ranges),) = turn(node, ask("watch", [("create", b"k")])).on("watchc")
    turn(node, ("eventc", ("taken", number, 5, 0)))
    assert turn(node, ("gonec", b"c")).on("watchc") == [("forget", ranges)]


# -- bad messages


@pytest.mark.parametrize(
    "frames",
    [
        (b"c",),
        (b"c", b""),
        (b"c", b"", b"", b""),
        (b"c", b"\xc1", pack([PUT])),
        (b"c", pack(5), pack([PUT])),
        (b"c", pack(None), pack([PUT])),
        (b"c", pack(()), pack([PUT])),
        (b"c", pack((1, 1)), pack([PUT])),
        (b"c", pack((1, -1, "write")), pack([PUT])),
        (b"c", pack((1, True, "write")), pack([PUT])),
        (b"c", pack((1, 1, "write", 0, 0, 0)), pack([PUT])),
        (b"c", pack((1, 1, "write", "soon")), pack([PUT])),
        (b"c", pack((1, 1, "write", 0, 0, 0, 0, 0, 1)), pack([PUT])),
        (b"c", pack((2,)), pack([PUT])),
        (b"c", pack((2, -1)), pack([PUT])),
        (b"c", pack((2, 2.5, "write")), pack([PUT])),
        (b"c", pack((-2, 1, "write")), pack([PUT])),
        (b"c", pack(b"\2\1\1"), pack([PUT])),
        (b"c", pack({"version": 1}), pack([PUT])),
        (b"c", pack(1.5), pack([PUT])),
    ],
)
def test_a_header_that_makes_no_sense_is_dropped_and_counted(node, frames):
    assert turn(node, ("clientc", frames)) == [("strangec", b"c")]
    assert node.dropped == 1


@pytest.mark.parametrize(
    "rest", [(), (5, "x"), ("read", 1000, 0, 0, 0, 0, 1), ("read", 1, 0, 5, 0), ([], {}, None, 1.5)]
)
def test_another_version_is_refused_whatever_its_headers_look_like(node, rest):
    """Else a client that would speak an older one, too, waits for an answer in vain."""
    out = turn(node, ("clientc", (b"c", pack((2, 2**64 - 1, *rest)), b"\xc1")))
    assert replies(out) == [(b"c", 2**64 - 1, tuple(errors.UNSUPPORTED_VERSION))]
    assert node.dropped == 0


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ask("write", [PUT], version=2), errors.UNIMPLEMENTED),
        (ask("fly", [PUT]), errors.UNIMPLEMENTED),
        (ask(5, [PUT]), errors.UNIMPLEMENTED),
        (ask([], [PUT]), errors.UNIMPLEMENTED),
        (ask({}, [PUT]), errors.UNIMPLEMENTED),
        (ask("write", b"\xc1"), errors.INVALID_ARGUMENT),
        (ask("write", b""), errors.INVALID_ARGUMENT),
        (ask("write", b"\xdd\xff\xff\xff\xff"), errors.INVALID_ARGUMENT),
        (ask("write", pack(())), errors.INVALID_ARGUMENT),
        (ask("write", pack(7)), errors.INVALID_ARGUMENT),
        (ask("write", pack({"put": 1})), errors.INVALID_ARGUMENT),
        (ask("maintenance", b"\xc1"), errors.INVALID_ARGUMENT),
        (ask("write", bytes(limits.BODY_BYTES_MAX + 1)), errors.INVALID_ARGUMENT),
    ],
)
def test_a_bad_body_gets_a_typed_error(node, message, code):
    ((_, _, error),) = replies(turn(node, message))
    assert error[0] == code
    assert error[2] == "not applied"
    assert node.idle


def test_a_body_over_its_limit_gets_etcds_error(node):
    out = turn(node, ask("write", bytes(limits.BODY_BYTES_MAX + 1)))
    assert replies(out) == [(b"c", 1, tuple(errors.REQUEST_TOO_LARGE))]


# -- maintenance


def status_of(node):
    """Its status, as the four other actors answer with nothing."""
    out = turn(node, ask("maintenance", [("status",)]))
    (question,) = out.on("statusc")
    for actor in ("raft_core", "wal_writer", "applier", "transport"):
        out = turn(node, ("statusrc", (question, actor, {}, {})))
    ((_, _, ((code, status),)),) = replies(out)
    assert code == 0
    return status


def test_status_waits_for_all_actors(node):
    out = turn(node, ask("maintenance", [("status",), ("member_list",), ("fly",)]))
    (question,) = out.on("statusc")
    assert turn(node, ("statusrc", (question, "applier", {"applied": 3}, {}))) == []
    assert turn(node, ("statusrc", (question, "wal_writer", {}, {}))) == []
    assert turn(node, ("statusrc", (question, "raft_core", {"commit": 4}, {}))) == []
    out = turn(node, ("statusrc", (question, "transport", {}, {})))
    ((_, _, (status, members, unknown)),) = replies(out)
    assert (status[1]["applied"], status[1]["commit"], status[1]["name"]) == (3, 4, "n1")
    assert members == (0, ())
    assert unknown[0] == errors.INVALID_ARGUMENT


def test_metrics_has_what_every_actor_has_measured_and_what_clients_asked(node):
    turn(node, ask("write", [PUT, ("delete", b"k")]))
    turn(node, ask("fly", [PUT], message_id=2))
    out = turn(node, ask("maintenance", [("metrics",)], message_id=3))
    (question,) = out.on("statusc")
    for actor in ("raft_core", "wal_writer", "applier", "transport"):
        out = turn(node, ("statusrc", (question, actor, {}, {"load": actor})))
    ((_, _, ((code, metrics),)),) = replies(out)
    assert code == 0
    assert metrics["status"]["name"] == "n1"
    assert metrics["actors"]["wal_writer"] == {"load": "wal_writer"}
    counted = metrics["actors"]["node"]
    assert counted["requests"] == {"put": 1, "delete": 1}
    assert counted["failures"] == (("", errors.UNIMPLEMENTED, 1),)
    assert set(counted["durations"]) >= {"write", "read", "serializable"}


@pytest.mark.parametrize("others", [(), (("status",),), (("member_list",),)])
def test_a_trace_has_the_steps_of_every_actor_whatever_else_the_message_asks(node, others):
    ((batch, _),) = proposed(turn(node, ask("write", [PUT])))
    out = turn(node, ask("maintenance", [*others, ("trace", 7, batch)], message_id=2))
    for question in out.on("statusc"):
        for actor in ("raft_core", "wal_writer", "applier", "transport"):
            out += turn(node, ("statusrc", (question, actor, {}, {})))
    ((question, numbers),) = out.on("tracec")
    assert numbers == (7, batch)
    for actor in ("raft_core", "wal_writer", "applier"):
        out += turn(node, ("tracerc", (question, actor, {}, [("step", 1.5, 0)])))
    results = replies(out)[-1][2]
    assert len(results) == len(others) + 1
    code, _, steps = results[-1]
    assert code == 0
    assert {(actor, step) for actor, step, *_ in steps} == {
        ("node", "clientc"), ("node", "propc"), ("raft_core", "step"), ("wal_writer", "step"),
        ("applier", "step"),
    }  # fmt: skip


@pytest.mark.parametrize("nonsense", [5, None, b"move_leader", "move_leader", (), {}])
def test_what_is_no_question_is_refused(node, nonsense):
    out = turn(node, ask("maintenance", [nonsense]))
    assert [result[0] for result in replies(out)[-1][2]] == [errors.INVALID_ARGUMENT]


def test_of_two_traces_in_a_message_the_second_is_refused(node):
    out = turn(node, ask("maintenance", [("trace", 7, 8), ("trace", 9, 10), ("trace", -1, 2)]))
    ((question, _),) = out.on("tracec")
    for actor in ("raft_core", "wal_writer", "applier"):
        out += turn(node, ("tracerc", (question, actor, {}, [])))
    assert [result[0] for result in replies(out)[-1][2]] == [0, 3, 3]


def test_a_status_that_an_actor_does_not_answer_ends_at_its_deadline(node):
    out = turn(node, ask("maintenance", [("status",)], timeout_ms=1000))
    (question,) = out.on("statusc")
    assert replies(tick(node, 101.1)) == [(b"c", 1, tuple(errors.READ_TIMEOUT))]
    assert turn(node, ("statusrc", (question, "applier", {}, {}))) == []
    assert node._desk.take_late(1e9) == []


def test_a_stopping_node_refuses_and_becomes_idle(node):
    ((batch_id, _),) = proposed(turn(node, ask("write", [PUT])))
    node.stop()
    assert not node.idle
    out = turn(node, ask("write", [PUT], message_id=2))
    assert replies(out) == [(b"c", 2, tuple(errors.STOPPED))]
    turn(node, done(batch_id, [(0, 2)]))
    assert node.idle


def test_it_announces_itself_until_the_log_has_it(node):
    mine = (1, "", ("127.0.0.1:2",), (), False, 0)
    turn(node, ("membersc", ((mine,), ())))
    (first,) = tick(node, 101.0).on("propc")
    assert unpack(first[1]) == ("publish", 1, "n1", ("127.0.0.1:1",), 5)
    assert tick(node, 101.1).on("propc") == []
    turn(node, ("dropc", first[0]))
    assert len(tick(node, 101.2).on("propc")) == 1
    turn(node, ("membersc", (((1, "n1", ("127.0.0.1:2",), ("127.0.0.1:1",), False, 5),), ())))
    assert tick(node, 200.0).on("propc") == []
    assert take(node) == []


def test_writes_that_wait_when_it_stops_were_certainly_not_applied(node):
    turn(node, ("softstatec", (2, 0, "follower")))
    turn(node, ask("write", [PUT]))
    node.stop()
    assert replies(take(node)) == [(b"c", 1, tuple(errors.STOPPED))]
    assert node.idle
    assert node._writes.pending_bytes == 0
