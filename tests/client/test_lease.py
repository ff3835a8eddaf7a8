"""Leases that renew themselves: when they are renewed, when they are lost, who is told.

`KeepAlive` runs by a clock that the test moves; the leases of both clients run against a node of
the tests' own and a real one.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from sampan.client import AsyncClient, Client, errors, lease
from sampan.client.lease import KeepAlive, Lease
from sampan.transport import errors as wire

from .fake_node import NO_LEADER, SILENCE


class Loop:
    """Time that stands still, and the timers that wait for it."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []

    def time(self):
        return self.now - 500  # another epoch than the monotonic clock's

    def call_at(self, when, callback):
        timer = SimpleNamespace(when=when + 500, callback=callback)
        timer.cancel = lambda: timer in self.timers and self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def run_until(self, when):
        """Run the timers on the way there, at their times."""
        while due := [timer for timer in self.timers if timer.when <= when]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = timer.when
            timer.callback()
        self.now = when


class Dispatcher:
    """Keeps the renewals that were asked for."""

    def __init__(self, loop):
        self.loop = loop
        self.lanes = {"write": "the lane for writes"}
        self.refusal, self.forked, self.on_close = None, False, set()
        self.asked = []  # (time, timeout)
        self.futures = []

    def queue(self, lane, future, request, size, timeout_s):
        assert (lane, request) == (self.lanes["write"], ("lease_keep_alive", 7))
        self.asked.append((self.loop.now, timeout_s))
        self.futures.append(future)

    def answer(self, ttl_s):
        self.futures.pop(0).set_result((None, (0, 1, 7, ttl_s)))

    def fail(self, error):
        self.futures.pop(0).set_exception(error)


@pytest.fixture
def keeping(monkeypatch):
    """(loop, dispatcher, keep-alive) of a lease of 9 s, granted at 1000."""
    loop = Loop()
    monkeypatch.setattr(lease, "monotonic", lambda: loop.now)
    dispatcher, told = Dispatcher(loop), []
    granted = SimpleNamespace(id=7, ttl_s=9)
    keep_alive = KeepAlive(loop, dispatcher, granted, 1000.0, lambda: told.append(loop.now))
    keep_alive.told = told
    keep_alive.start()
    return loop, dispatcher, keep_alive


LOST_CONNECTION = errors.ConnectionLostError(wire.UNAVAILABLE, "gone")


def test_it_is_renewed_three_times_in_its_time(keeping):
    loop, dispatcher, keep_alive = keeping
    for when in (1003.0, 1006.0, 1009.0):
        loop.run_until(when)
        assert dispatcher.asked[-1] == (when, 3.0)
        dispatcher.answer(9)
        assert keep_alive.deadline == when + 9
    assert len(dispatcher.asked) == 3


def test_the_deadline_counts_from_when_the_renewal_was_asked_for(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    loop.run_until(1005.5)
    assert keep_alive.deadline == 1009.0
    dispatcher.answer(9)
    assert keep_alive.deadline == 1012.0
    loop.run_until(1006.0)
    assert dispatcher.asked[-1] == (1006.0, 3.0)


def test_a_renewal_that_fails_is_tried_again_until_the_time_is_over(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    dispatcher.fail(LOST_CONNECTION)
    loop.run_until(1003.45)
    assert dispatcher.asked[-1] == (1003.45, 3.0)
    loop.run_until(1008.9)
    dispatcher.fail(LOST_CONNECTION)
    assert not keep_alive.lost
    loop.run_until(1009.0)
    assert keep_alive.told == [1009.0]
    assert "was not renewed within its 9 s" in str(keep_alive.error())
    assert keep_alive.error().__cause__ is LOST_CONNECTION
    assert not loop.timers


def test_the_last_renewal_before_the_deadline_gets_no_more_time_than_there_is(keeping):
    loop, dispatcher, _ = keeping
    loop.run_until(1003.0)
    loop.run_until(1008.0)
    dispatcher.fail(LOST_CONNECTION)
    loop.run_until(1008.45)
    assert dispatcher.asked[-1] == (1008.45, pytest.approx(0.55))


def test_an_answer_after_the_deadline_does_not_bring_it_back(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    loop.run_until(1009.0)
    dispatcher.answer(9)
    assert keep_alive.told == [1009.0]
    assert not loop.timers


def test_a_lease_that_the_cluster_does_not_know_is_lost_at_once(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    dispatcher.answer(0)
    assert keep_alive.told == [1003.0]
    assert "does not exist any more" in str(keep_alive.error())
    assert not loop.timers


def test_a_closed_client_loses_its_leases_at_once(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    dispatcher.fail(errors.ClientClosedError(wire.UNAVAILABLE, "closed"))
    assert "the client is closed" in keep_alive.lost
    assert not loop.timers


def test_stopping_ends_it_whatever_is_under_way(keeping):
    loop, dispatcher, keep_alive = keeping
    loop.run_until(1003.0)
    keep_alive.stop()
    dispatcher.answer(9)
    assert not loop.timers
    assert not keep_alive.lost


# -- the leases of the clients


@pytest.fixture
def often(monkeypatch):
    """Leases of a minute, so that a busy machine loses none, are renewed every 0.3 s."""
    monkeypatch.setattr(lease, "RENEWALS", 200)


def deadlines(held, count):
    """`count` deadlines, each after a renewal that the cluster acknowledged."""
    seen = [held._keep_alive.deadline]
    while len(seen) < count:
        assert held.wait_lost(0.01) is None
        if held._keep_alive.deadline != seen[-1]:
            seen.append(held._keep_alive.deadline)
    return seen


def test_it_is_renewed_while_it_is_held_and_revoked_at_the_end(real, often):
    with Client([real]) as client:
        with client.lease(60) as held:
            client.put("held", "", lease=held.id)
            assert held.ttl_s == 60
            seen = deadlines(held, 4)
            assert seen == sorted(seen)
            assert held.alive
            assert 0 < held.remaining_s <= 60
            assert client.lease_time_to_live(held.id, keys=True).keys == [b"held"]
            held.check()
        assert client.get("held").count == 0
        assert not held.alive
        with pytest.raises(errors.LeaseLostError, match="was revoked"):
            held.check()


def test_it_is_renewed_while_a_task_holds_it(real, often):
    async def main():
        async with AsyncClient([real]) as client:
            async with await client.lease(60) as held:
                await client.put("held", "", lease=held.id)
                first = held._keep_alive.deadline
                while held._keep_alive.deadline == first:
                    await asyncio.sleep(0.01)
                held.check()
                assert (await client.get("held")).count == 1
            assert (await client.get("held")).count == 0
            assert held.id not in (await client.leases()).leases

    asyncio.run(main())


def hold_until_lost(client, other, then):
    with client.lease(60) as held:
        other.lease_revoke(held.id)
        assert "does not exist any more" in str(held.wait_lost())
        assert not held.alive
        assert held.remaining_s == 0
        then()


def test_who_holds_it_is_told_when_it_was_revoked_elsewhere(real, often):
    with Client([real]) as client, Client([real]) as other:
        with pytest.raises(errors.LeaseLostError, match="does not exist any more"):
            hold_until_lost(client, other, lambda: None)
        with pytest.raises(ZeroDivisionError):
            hold_until_lost(client, other, lambda: 1 // 0)


def test_a_task_that_holds_it_is_told_when_it_was_revoked_elsewhere(real, often):
    async def hold_until_lost(client):
        async with await client.lease(60) as held:
            await client.lease_revoke(held.id)
            assert "does not exist" in str(await held.wait_lost())

    async def main():
        async with AsyncClient([real]) as client:
            with pytest.raises(errors.LeaseLostError, match="does not exist any more"):
                await hold_until_lost(client)
            held = await client.lease(60)
            await held.revoke()
            await held.revoke()  # has ended before

    asyncio.run(main())


def test_waiting_for_its_end_ends_when_it_is_revoked_or_the_client_is_closed(node):
    node.behave = keeps
    for end, why in ((Lease.revoke, "was revoked"), (None, "the client is closed")):
        with Client([node.endpoint]) as client, ThreadPoolExecutor(1) as pool:
            held = client.lease(60)
            waiting = pool.submit(held.wait_lost)
            end(held) if end else client.close()
            assert why in str(waiting.result(30))
            assert not held.alive
            with pytest.raises(errors.LeaseLostError, match=why):
                held.check()

    async def main():
        async with AsyncClient([node.endpoint]) as client:
            revoked, closed = await client.lease(60), await client.lease(60)
            waiting = [asyncio.ensure_future(each.wait_lost()) for each in (revoked, closed)]
            await revoked.revoke()
            assert "was revoked" in str(await waiting[0])
            assert closed.alive
            await client.aclose()
            assert "the client is closed" in str(await waiting[1])

    asyncio.run(main())


def test_a_lease_of_a_client_that_was_closed_meanwhile_is_lost(node):
    node.behave = keeps
    with Client([node.endpoint]) as client:
        granted = client.lease_grant(60)
        arguments = (client, client._loop, client._dispatcher, granted, lease.monotonic())
    assert "the client is closed" in str(Lease(*arguments).wait_lost())


def keeps(header, requests):
    """A node that knows of leases."""
    results = {
        "lease_grant": [0, 1, 7, 60],
        "lease_keep_alive": [0, 1, 7, 60],
        "lease_revoke": [0, 2],
    }
    return [results[requests[0][0]]] if requests[0][0] in results else None


def grants(header, requests):
    """A node that knows of leases, and renews none."""
    if requests[0][0] == "lease_grant":
        return [[0, 1, 7, 2]]
    return None if header[2] == "maintenance" else SILENCE


def test_it_is_lost_when_nobody_answers_renewals(node):
    node.behave = grants
    with Client([node.endpoint]) as client:
        held = client.lease(2)
        assert "was not renewed within its 2 s" in str(held.wait_lost(60))
        with pytest.raises(errors.LeaseLostError):
            held.check()
        assert len(node.requests("write")) > 2


def test_it_is_lost_with_its_client(node):
    node.behave = grants
    with Client([node.endpoint]) as client:
        held = client.lease(2)
    assert held.wait_lost(60) is not None


def test_it_is_lost_by_the_clock_even_when_nothing_runs(node, monkeypatch):
    """As after a long stop of the whole program: no timer has run yet."""
    node.behave = grants
    with Client([node.endpoint]) as client:
        held = client.lease(2)
        gate = threading.Event()
        client._loop.call_threadsafe(gate.wait)
        ends = held._keep_alive.deadline
        monkeypatch.setattr(lease, "monotonic", lambda: ends)
        assert not held.alive
        with pytest.raises(errors.LeaseLostError, match="was not renewed"):
            held.check()
        monkeypatch.undo()
        gate.set()
        assert not held.alive


def test_a_refused_renewal_is_tried_again(node, often):
    refused = []

    def behave(header, requests):
        name = requests[0][0]
        if name == "lease_grant":
            return [[0, 1, 7, 60]]
        if name == "lease_keep_alive" and len(refused) < 3:
            refused.append(header)
            return [NO_LEADER]
        return [[0, 1, 7, 60]] if name == "lease_keep_alive" else None

    node.behave = behave
    with Client([node.endpoint]) as client, client.lease(60) as held:
        assert len(deadlines(held, 2)) == 2
        assert len(refused) == 3
        node.behave = lambda header, requests: [
            [0, 1, 7, 60] if name == "lease_keep_alive" else [0, 2] for name, _ in requests
        ]


def test_an_answer_that_is_none_breaks_the_connection_and_nothing_else(node, often):
    answers = [[0, 1], [0, 1, 7, 60]]

    def behave(header, requests):
        name = requests[0][0]
        if name == "lease_grant":
            return [[0, 1, 7, 60]]
        return [answers[0] if len(answers) == 1 else answers.pop(0)] * len(requests)

    node.behave = lambda header, requests: (
        behave(header, requests) if requests[0][0].startswith("lease") else None
    )
    with Client([node.endpoint]) as client:
        held = client.lease(60)
        assert len(deadlines(held, 2)) == 2
        node.behave = lambda header, requests: None
        assert client.status().header.cluster_id == node.cluster_id
