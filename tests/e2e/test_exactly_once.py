"""Every acknowledged write happened once, whatever died meanwhile, and none ends as unknown."""

import asyncio
import signal

from sampan.client import AsyncClient, ops
from sampan.client._link import is_message_error

from .background import Background
from .cluster import ROUNDS, WAIT_S, wait_for
from .test_catch_up import SMALL_LOG

PUT = ("put", b"k", b"v")
SAMPLES = 100
"""Answers of each writer that are looked up afterwards."""
EVERYWHERE = b"count/0/"
"""Keys of the client that knows all members."""
LONG_S = 3 * WAIT_S
"""More than a member is away: some clients know only one."""


class Counters(Background):
    """Writers that count in keys of their own, and never look the other way: any error of a write
    ends it all. One client knows all members; one each knows one."""

    END_S = LONG_S + WAIT_S

    def __init__(self, endpoints, *, value_size=0):
        super().__init__()
        self._endpoints = endpoints
        self._padding = b"." * value_size
        self.acked = {}  # key -> [(value, revision of the answer), …]

    def _run(self):
        asyncio.run(self._work())

    async def _work(self):
        routes = [self._endpoints, *([each] for each in self._endpoints)]
        async with asyncio.TaskGroup() as group:
            for number, route in enumerate(routes):
                group.create_task(self._count_all(route, number))

    async def _count_all(self, route, number):
        async with AsyncClient(route, timeout_s=LONG_S) as client, asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(self._count(client, b"count/%d/%d" % (number, n), by_txn=n == 0))

    async def _count(self, client, key, *, by_txn):
        acked = self.acked[key] = []
        while not self._stop.is_set():
            value = b"%d" % len(acked) + self._padding
            if by_txn:
                unchanged = [ops.version(key) == len(acked)]
                answer = await client.txn(unchanged, [ops.put(key, value)])
                assert answer.succeeded, f"{key} was written by someone else, or twice"
            else:
                answer = await client.put(key, value)
            acked.append((value, answer.header.revision))
            await asyncio.sleep(0.01)

    def wait_more(self, count=20, *, prefix=b""):
        """Wait until every writer, of keys with `prefix`, has `count` more acknowledged writes."""
        wait_for(lambda: len(self.acked) == 4 * (1 + len(self._endpoints)), "all writers")
        targets = {
            key: len(acked) + count for key, acked in self.acked.items() if key.startswith(prefix)
        }

        def enough():
            self.check()
            return all(len(self.acked[key]) >= target for key, target in targets.items())

        wait_for(enough, f"{count} more acknowledged writes each", LONG_S)

    def verify(self):
        """Compare the store with what was acknowledged."""
        self.check()
        asyncio.run(self._verify())

    async def _verify(self):
        async with AsyncClient(self._endpoints, timeout_s=WAIT_S) as client:
            for key, acked in self.acked.items():
                (kv,) = (await client.get(key)).kvs
                assert (kv.version, kv.value) == (len(acked), acked[-1][0])
                some = acked[:: 1 + len(acked) // SAMPLES]
                reads = [client.get(key, revision=revision) for _, revision in some]
                found = [answer.kvs[0].value for answer in await asyncio.gather(*reads)]
                assert found == [value for value, _ in some], "not the first answer"


def test_every_write_happens_once_while_members_die(make_cluster):
    """... and come back with what they had in hand, what their log has, or with a snapshot."""
    cluster = make_cluster(separate=True, **SMALL_LOG).start()
    with Counters(cluster.endpoints, value_size=4000) as counters:
        for _ in range(ROUNDS):
            counters.wait_more()
            cluster.kill_actor(cluster.wait_leader(), cluster.actors[-1])
            counters.wait_more()
            leader = cluster.wait_leader()
            cluster.signal_node(leader, signal.SIGSTOP)
            cluster.wait_leader([n for n in cluster.names if n != leader])
            counters.wait_more(prefix=EVERYWHERE)
            cluster.signal_node(leader, signal.SIGCONT)  # it goes on with what it had taken
            counters.wait_more()
            away = cluster.followers()[0]
            leader = cluster.kill_and_forget(away)
            cluster.launch_node(away)
            wait_for(lambda n=away: "snapshot installed" in cluster.log(n), "a snapshot")
            cluster.kill_node(leader)
            cluster.wait_leader([n for n in cluster.names if n != leader])
            cluster.launch_node(leader)
            counters.wait_more()
    counters.verify()
    cluster.wait_equal()
    cluster.stop()


def answered(cluster, name, kind, requests, stamp=()):
    """The results of one message to one member. What a change of leaders leaves unanswered is sent
    again: a busy machine may have one at any time, and the stamp makes it once."""

    def results():
        found = cluster.ask(name, kind, requests, WAIT_S, stamp)
        return found is not None and not is_message_error(found) and found

    return wait_for(results, f"{name} to answer")


def test_a_message_that_comes_again_is_answered_by_any_member_after_anything(make_cluster):
    """By one that has it from a snapshot alone, too, and after all have started again."""
    cluster = make_cluster(separate=True, **SMALL_LOG).start()
    away, member = cluster.followers()
    ((_, _, session),) = answered(cluster, member, "write", [("session_open", 1)])
    cluster.kill_node(away)
    stamp = (session, 1, 1)
    first = answered(cluster, member, "write", [PUT, PUT], stamp)
    assert [code for code, _ in first] == [0, 0]
    leader = cluster.wait_leader([n for n in cluster.names if n != away])
    behind = cluster.wait_status(leader)["raft_index"]
    with cluster.client(member) as client:
        while not cluster.compacted_past(leader, behind):
            client.put(b"other", bytes(100_000))
    cluster.launch_node(away)
    wait_for(lambda: "snapshot installed" in cluster.log(away), "a snapshot")
    assert answered(cluster, away, "write", [PUT, PUT], stamp) == first
    cluster.kill_everything()
    cluster.start()
    for name in cluster.names:
        assert answered(cluster, name, "write", [PUT, PUT], stamp) == first
        ((_, _, _, _, kvs),) = answered(cluster, name, "read", [("range", b"k")])
        assert kvs[0][3] == 2
    cluster.stop()
