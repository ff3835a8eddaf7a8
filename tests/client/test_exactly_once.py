"""Numbered writes, as a node sees them: what is sent again, and what the caller learns."""

import asyncio

import pytest
from sampan.client import errors
from sampan.client._session import WINDOW, Session

from .fake_node import (
    LEADER_CHANGED,
    LEADER_FAILED,
    NO_LEADER,
    SESSION_EXPIRED,
    SILENCE,
    STOPPED,
    TOO_MANY_REQUESTS,
)
from .scenario import LONG_S, run, silent

TIMED_OUT = [14, "etcdserver: request timed out", "unknown"]
NOTHING = ["txn", [], [], []]


def stamps(node):
    """(session, sequence, acknowledged below) of each message of writes."""
    return [tuple(header[5:]) for header, _ in list(node.messages) if header[2] == "write"]


def script(node, *steps):
    """Let a node answer its messages of writes with these, then as it should: an error, SILENCE, or
    ("applied", either), for after it has applied the message."""
    left = list(steps)

    def behave(header, requests):
        if header[2] != "write" or not left:
            return None
        step = left.pop(0)
        if type(step) is tuple:
            node.apply(header, requests)
            step = step[1]
        return step

    node.behave = behave


def test_numbers_follow_each_other_and_acknowledge_what_was_answered(node):
    async def scenario(client):
        for _ in range(3):
            await asyncio.gather(client.put("a", "v"), client.put("b", "v"))

    run([node], scenario)
    ((session, *_), *_) = stamps(node)
    assert stamps(node) == [(session, n, n) for n in (1, 2, 3)]
    assert node.openings == 1


def test_a_client_that_only_reads_opens_no_session(node):
    async def scenario(client):
        await client.get("k")

    run([node], scenario)
    assert node.openings == 0


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("error", [LEADER_CHANGED, LEADER_FAILED, TIMED_OUT])
def test_an_unknown_write_is_sent_again_with_its_number(node, error, applied):
    script(node, ("applied", error) if applied else error)

    async def scenario(client):
        first, second = await asyncio.gather(client.put("a", "v"), client.put("b", "v"))
        assert (first.header.revision, second.header.revision) == (2, 3)

    run([node], scenario, timeout_s=LONG_S)
    assert node.sizes("write") == [2, 2]
    assert len(set(stamps(node))) == 1


@pytest.mark.parametrize("applied", [False, True])
def test_a_write_under_way_to_a_node_that_dies_is_answered_by_another(node, other, applied):
    other.store = node.store
    nodes = {1: node, 2: other}

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)
        home = nodes[(await client.put("warm", "up")).header.member_id]
        spare = nodes[3 - home.member_id]
        script(home, ("applied", SILENCE) if applied else SILENCE)
        put = asyncio.ensure_future(client.put("k", "v"))
        await asyncio.to_thread(home.wait_for, lambda fake: len(fake.requests("write")) == 2)
        spare.leader_id = 2
        home.kill()
        answer = await put
        assert (answer.header.member_id, answer.header.revision) == (spare.member_id, 3)

    node.leader_id = other.leader_id = 0
    run([node, other], scenario, timeout_s=LONG_S)
    assert node.store.data[b"k"][3] == 1


@pytest.mark.parametrize("error", [NO_LEADER, STOPPED, TOO_MANY_REQUESTS])
def test_a_refusal_tells_nothing_about_an_attempt_before_it(node, error):
    script(node, ("applied", TIMED_OUT), error, error)

    async def scenario(client):
        assert (await client.put("k", "v")).header.revision == 2

    run([node], scenario, timeout_s=LONG_S)
    assert len(stamps(node)) == 4
    assert len(set(stamps(node))) == 1


def test_a_refusal_that_is_final_leaves_an_earlier_attempt_unknown(node):
    script(node, ("applied", TIMED_OUT), [12, "some text of tomorrow", "not applied"])

    async def scenario(client):
        with pytest.raises(errors.UnknownOutcomeError, match="tomorrow"):
            await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    assert node.store.data[b"k"][3] == 1


@pytest.mark.parametrize("error", [NO_LEADER, TOO_MANY_REQUESTS])
def test_what_was_refused_the_first_time_gets_a_new_number(node, error):
    script(node, error)

    async def scenario(client):
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    assert [sequence for _, sequence, _ in stamps(node)] == [1, 2]


def test_at_the_deadline_the_caller_learns_what_is_known(node):
    async def scenario(client):
        await client.put("k", "v")
        node.behave = lambda header, requests: LEADER_FAILED if header[2] == "write" else None
        # The second when the last attempt was under way at the deadline.
        with pytest.raises((errors.LeaderChangedError, errors.RequestTimeoutError)):
            await client.put("k", "v", timeout_s=1)
        node.behave = silent
        with pytest.raises(errors.RequestTimeoutError):
            await client.put("k", "v", timeout_s=0.5)
        node.behave = lambda header, requests: None
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    _, sequence, below = stamps(node)[-1]
    assert sequence == below == 4, "what was given up is not asked for again"


def test_a_call_that_was_given_up_is_not_in_the_next_attempt(node):
    async def scenario(client):
        await client.put("k", "v")
        script(node, SILENCE)
        short = asyncio.ensure_future(client.put("short", "v", timeout_s=0.5))
        long = asyncio.ensure_future(client.put("long", "v"))
        with pytest.raises(errors.RequestTimeoutError):
            await short
        node.kill()
        with type(node)(port=node.port, store=node.store) as again:
            assert (await long).header.revision == 3
            assert again.requests("write") == [NOTHING, ["put", b"long", b"v"]]

    run([node], scenario, timeout_s=LONG_S)
    assert b"short" not in node.store.data


def test_a_session_that_ended_is_replaced_and_nothing_was_applied_in_it(node):
    async def scenario(client):
        await client.put("k", "v")
        node.store.sessions.clear()
        put, other = await asyncio.gather(client.put("k", "v"), client.put("l", "v"))
        assert (put.header.revision, other.header.revision) == (3, 4)

    run([node], scenario, timeout_s=LONG_S)
    assert node.openings == 2
    assert [sequence for _, sequence, _ in stamps(node)] == [1, 2, 1]


def test_a_session_that_ended_between_two_attempts_leaves_the_write_unknown(node):
    script(node, ("applied", TIMED_OUT), SESSION_EXPIRED)

    async def scenario(client):
        with pytest.raises(errors.SessionExpiredError):
            await client.put("k", "v")
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    assert (node.openings, node.store.data[b"k"][3]) == (2, 2)


def test_no_write_leaves_before_the_session_is_open(node):
    node.opens_sessions = False
    script(node, NO_LEADER, LEADER_FAILED)

    async def scenario(client):
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    assert [request[0] for request in node.requests("write")] == ["session_open"] * 3 + ["put"]


def test_without_a_session_a_write_was_not_applied(node):
    node.opens_sessions = False
    node.behave = lambda header, requests: NO_LEADER if header[2] == "write" else None

    async def scenario(client):
        with pytest.raises(errors.NoLeaderError):
            await client.put("k", "v", timeout_s=1)

    run([node], scenario, timeout_s=LONG_S)
    assert {request[0] for request in node.requests("write")} == {"session_open"}


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_that_was_not_kept_says_that_the_write_happened(node, whole):
    lost = [15, "sampan: applied once, but the first answer was lost and is too large to be kept",
            "unknown"]  # fmt: skip
    script(node, ("applied", TIMED_OUT), lost if whole else [[0, 2], lost])

    async def scenario(client):
        first, second = await asyncio.gather(
            client.put("a", "v"), client.put("b", "v"), return_exceptions=True
        )
        assert isinstance(second, errors.AnswerNotKeptError)
        assert isinstance(first, errors.AnswerNotKeptError) == whole

    run([node], scenario, timeout_s=LONG_S)


def test_no_more_numbers_are_under_way_than_a_node_keeps_answers():
    session = Session()
    numbers = [session.number() for _ in range(WINDOW - 1)]
    assert not session.full
    numbers.append(session.number())
    assert session.full
    session.settle(numbers[5])
    assert session.full
    session.settle(numbers[0])
    assert not session.full
    assert session.stamp(numbers[1]) == (0, 2, 2)
