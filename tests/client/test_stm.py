"""Transactions as functions, on a real node, from threads and from tasks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import AsyncClient, Client, errors, ops
from sampan.client.recipes import Isolation, async_stm, stm

EVERY_ISOLATION = list(Isolation)
READS_ARE_CHECKED = [each for each in Isolation if each is not Isolation.READ_COMMITTED]
WITH_SNAPSHOT = [Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE]


@pytest.fixture
def client(real):
    with Client([real], timeout_s=30) as client:
        client.delete("", prefix=True)
        yield client


class Interfering:
    """Counts the calls of a transaction's function, and does something else during the first."""

    def __init__(self, interfere):
        self.calls = 0
        self._interfere = interfere

    def __call__(self):
        self.calls += 1
        if self.calls == 1:
            self._interfere()


@pytest.mark.parametrize("isolation", EVERY_ISOLATION)
def test_reads_see_writes_and_all_is_applied_in_one_revision(client, isolation):
    client.put("a", "1")
    client.put("gone", "x")

    def apply(txn):
        assert txn.get_many("a", "none", b"gone") == [b"1", None, b"x"]
        txn.put("a", "2")
        txn.put("new", b"n")
        txn.delete("gone")
        assert txn.get_many("a", "new", "gone") == [b"2", b"n", None]
        assert txn.get("a") == b"2"
        return "done"

    before = client.get("a").header.revision
    assert stm(client, apply, isolation=isolation) == "done"
    found = client.get("", prefix=True)
    assert {kv.key: kv.value for kv in found.kvs} == {b"a": b"2", b"new": b"n"}
    assert {kv.mod_revision for kv in found.kvs} == {before + 1}


def test_an_exception_of_the_function_ends_it_without_a_trace(client):
    def apply(txn):
        txn.put("a", "1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        stm(client, apply)
    assert not client.get("a").kvs


@pytest.mark.parametrize("isolation", READS_ARE_CHECKED)
def test_a_key_that_changed_after_it_was_read_calls_the_function_again(client, isolation):
    client.put("a", "1")
    interfere = Interfering(lambda: client.put("a", "5"))

    def apply(txn):
        before = int(txn.get("a"))
        interfere()
        assert int(txn.get("a")) == before, "a read was not repeatable"
        txn.put("a", str(before + 1))

    stm(client, apply, isolation=isolation)
    assert (interfere.calls, client.get("a").kvs[0].value) == (2, b"6")


@pytest.mark.parametrize("isolation", READS_ARE_CHECKED)
def test_a_key_that_was_created_or_deleted_conflicts_too(client, isolation):
    client.put("deleted", "1")

    def other():
        client.put("created", "1")
        client.delete("deleted")

    interfere = Interfering(other)

    def apply(txn):
        seen = txn.get_many("created", "deleted")
        interfere()
        txn.put("seen", repr(seen))

    stm(client, apply, isolation=isolation)
    assert client.get("seen").kvs[0].value == b"[b'1', None]"


def test_read_committed_does_not_check_what_was_read(client):
    client.put("a", "1")
    interfere = Interfering(lambda: client.put("a", "5"))

    def apply(txn):
        before = int(txn.get("a"))
        interfere()
        txn.put("a", str(before + 1))

    stm(client, apply, isolation=Isolation.READ_COMMITTED)
    assert (interfere.calls, client.get("a").kvs[0].value) == (1, b"2")


@pytest.mark.parametrize("isolation", EVERY_ISOLATION)
def test_two_reads_are_of_one_snapshot_if_so_isolated(client, isolation):
    client.txn([], [ops.put("left", "1"), ops.put("right", "1")])
    swap = [ops.put("left", "2"), ops.put("right", "2")]
    interfere = Interfering(lambda: client.txn([], swap))
    pairs = []

    def apply(txn):
        left = txn.get("left")
        interfere()
        pairs.append((left, txn.get("right")))
        txn.put("sum", "")

    stm(client, apply, isolation=isolation)
    assert pairs[0] == (b"1", b"1" if isolation in WITH_SNAPSHOT else b"2")
    assert len(pairs) == (1 if isolation is Isolation.READ_COMMITTED else 2)


@pytest.mark.parametrize("isolation", EVERY_ISOLATION)
def test_a_key_only_written_conflicts_under_snapshot_isolation_alone(client, isolation):
    client.put("read", "1")
    interfere = Interfering(lambda: client.put("written", "theirs"))

    def apply(txn):
        txn.get("read")
        interfere()
        txn.put("written", "ours")

    stm(client, apply, isolation=isolation)
    assert interfere.calls == (2 if isolation is Isolation.SERIALIZABLE_SNAPSHOT else 1)
    assert client.get("written").kvs[0].value == b"ours"


@pytest.mark.parametrize("isolation", EVERY_ISOLATION)
def test_mod_revision_is_that_of_what_is_stored(client, isolation):
    revision = client.put("a", "1").header.revision

    def apply(txn):
        txn.put("a", "2")
        return txn.mod_revision("a"), txn.mod_revision("none")

    assert stm(client, apply, isolation=isolation) == (revision, 0)


def test_write_skew_is_impossible(client):
    """Each of two may leave only while the other stays: the textbook case that plain snapshot
    isolation gets wrong."""
    client.txn([], [ops.put("x", "here"), ops.put("y", "here")])

    def leave(me, other, meanwhile):
        def apply(txn):
            both = txn.get_many("x", "y")
            meanwhile()
            if both == [b"here", b"here"]:
                txn.put(me, "gone")

        stm(client, apply)

    leave("x", "y", Interfering(lambda: leave("y", "x", lambda: None)))
    values = [client.get(key).kvs[0].value for key in "xy"]
    assert values == [b"here", b"gone"]


def test_the_snapshot_may_be_compacted_away_meanwhile(real, client):
    """The function's own read fails, and the whole is tried again from a new snapshot."""
    client.put("a", "1")
    compacted = []

    class Compacted:
        """The client of a transaction, whose first snapshot is compacted when it is used again."""

        def __getattr__(self, name):
            return getattr(client, name)

        def txn(self, compares, success, failure=()):
            if success and success[0][0] == "range" and success[0][4] and not compacted:
                compacted.append(True)
                raise errors.CompactedError(11, "mvcc: required revision has been compacted")
            return client.txn(compares, success, failure)

    calls = []

    def apply(txn):
        calls.append(txn.get("a"))
        txn.put("b", txn.get("c") or b"none")

    stm(Compacted(), apply)
    assert (calls, client.get("b").kvs[0].value) == ([b"1", b"1"], b"none")


def test_counters_that_threads_move_between_keep_their_sum(real, client):
    keys = ["n/0", "n/1", "n/2"]
    client.txn([], [ops.put(key, "100") for key in keys])

    def move(source, target):
        def apply(txn):
            left, right = (int(value) for value in txn.get_many(keys[source], keys[target]))
            txn.put(keys[source], str(left - 1))
            txn.put(keys[target], str(right + 1))

        stm(client, apply)

    with ThreadPoolExecutor(6) as pool:
        moves = [pool.submit(move, i % 3, (i + 1 + i // 3 % 2) % 3) for i in range(60)]
        for each in moves:
            each.result()
    values = [int(client.get(key).kvs[0].value) for key in keys]
    assert sum(values) == 300
    assert sum(client.get(key).kvs[0].version - 1 for key in keys) == 120


def test_tasks_count_to_the_right_number(real, client):
    client.put("counter", "0")

    async def count(txn):
        txn.put("counter", str(int(await txn.get("counter")) + 1))

    async def main():
        async with AsyncClient([real], timeout_s=30) as client:
            await asyncio.gather(*[async_stm(client, count) for _ in range(30)])

    asyncio.run(main())
    assert client.get("counter").kvs[0].value == b"30"


def test_first_reads_side_by_side_are_of_one_snapshot(real, client):
    client.txn([], [ops.put("left", "0"), ops.put("right", "0")])

    async def writer(client):
        for i in range(200):
            await client.txn([], [ops.put("left", str(i)), ops.put("right", str(i))])

    async def read(txn):
        return await asyncio.gather(txn.get("left"), txn.get("right"), txn.get("left"))

    async def main():
        async with AsyncClient([real], timeout_s=30) as client:
            writing = asyncio.ensure_future(writer(client))
            while not writing.done():
                left, right, left_again = await async_stm(client, read)
                assert left == right == left_again

    asyncio.run(main())
