"""The client and a real node: what a node of the tests' own cannot show."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import AsyncClient, Client, errors, ops
from sampan.config import limits


def test_a_range_of_more_keys_than_a_message_has_requests(real):
    keys = [f"many/{i:06}" for i in range(12_000)]

    async def main():
        async with AsyncClient([real], timeout_s=60) as client:
            await asyncio.gather(*[client.put(key, b"") for key in keys])
            found = await client.get("many/", prefix=True)
            assert [kv.key.decode() for kv in found.kvs] == keys
            assert (await client.delete("many/", prefix=True)).deleted == len(keys)

    asyncio.run(main())


def test_a_scan_shows_one_revision_while_everything_changes(real):
    values = {f"scan/{i:05}": b"%d" % i * (i % 600) for i in range(3_000)}

    async def main():
        async with AsyncClient([real], timeout_s=60) as client:
            await asyncio.gather(*[client.put(key, value) for key, value in values.items()])
            scan = client.scan("scan/", prefix=True)
            found = [await anext(scan)]
            await client.delete("scan/01", prefix=True)
            await client.put("scan/00000/new", "x")
            await asyncio.gather(*[client.put(f"scan/{i:05}", "y") for i in range(2_000, 3_000)])
            found += [kv async for kv in scan]
            assert {kv.key.decode(): kv.value for kv in found} == values
            keys = [kv.key async for kv in client.scan("scan/02", prefix=True, keys_only=True)]
            assert keys == [b"scan/%05d" % i for i in range(2_000, 3_000)]

    asyncio.run(main())
    with Client([real]) as client:
        left = [kv.key for kv in client.scan("scan/", prefix=True)]
        assert len(left) == 2_001
        assert sorted(set(left)) == left
        client.delete("scan/", prefix=True)
        assert list(client.scan("scan/", prefix=True)) == []


def test_large_values_and_the_largest(real):
    async def main():
        async with AsyncClient([real], timeout_s=60) as client:
            largest = limits.REQUEST_BYTES_MAX - 100
            await client.put("large", b"v" * largest)
            assert len((await client.get("large")).kvs[0].value) == largest
            with pytest.raises(errors.RequestTooLargeError):
                await client.put("large", b"v" * limits.REQUEST_BYTES_MAX)
            # Together twice what a node holds for a client that does not read
            gets = [client.get("large") for _ in range(2 * limits.REPLY_WINDOW_BYTES // largest)]
            assert {len(each.kvs[0].value) for each in await asyncio.gather(*gets)} == {largest}

    asyncio.run(main())


def test_typed_errors(real):
    with Client([real]) as client:
        client.put("k", "v")
        with pytest.raises(errors.EmptyKeyError):
            client.put("", "v")
        with pytest.raises(errors.KeyNotFoundError):
            client.put("none", "", ignore_value=True)
        with pytest.raises(errors.ValueProvidedError):
            client.put("k", "v", ignore_value=True)
        with pytest.raises(errors.FutureRevisionError):
            client.get("k", revision=10**9)
        with pytest.raises(errors.LeaseNotFoundError):
            client.put("k", "v", lease=7)
        with pytest.raises(errors.InvalidRequestError, match="malformed"):
            client.put("k", "v", lease="7")
        with pytest.raises(errors.DuplicateKeyError):
            client.txn([], [ops.put("k", "1"), ops.put("k", "2")])
        with pytest.raises(errors.TooManyOperationsError):
            client.txn([], [ops.get("k")] * 129)


def test_a_counter_that_many_threads_count_up_by_transactions(real):
    def count(client: Client) -> None:
        done = False
        while not done:
            kv = client.get("counter").kvs[0]
            unchanged = ops.mod_revision("counter") == kv.mod_revision
            done = client.txn([unchanged], [ops.put("counter", str(int(kv.value) + 1))]).succeeded

    with Client([real], timeout_s=30) as client, ThreadPoolExecutor(8) as pool:
        client.put("counter", "0")
        for call in [pool.submit(count, client) for _ in range(40)]:
            call.result()
        assert client.get("counter").kvs[0].value == b"40"


def test_status_and_members(real):
    with Client([real]) as client:
        status = client.status(real)
        assert status.header.member_id == status.fields["leader"] == 1
        [member] = client.member_list().members
        assert (member.id, member.name, member.client_urls) == (1, "a", [real])


def test_a_physical_compaction_returns_when_the_history_is_gone(real):
    with Client([real], timeout_s=60) as client:
        for _ in range(20):
            client.put("k", "v")
        revision = client.get("k").header.revision
        assert client.compact(revision - 10).header.revision == revision
        with pytest.raises(errors.CompactedError):
            client.get("k", revision=revision - 11)
        with pytest.raises(errors.CompactedError):
            client.compact(revision - 10, physical=True)
        with pytest.raises(errors.FutureRevisionError):
            client.compact(revision + 1, physical=True)
        client.compact(revision, physical=True)
        fields = client.status().fields
        assert fields["compacted_revision"] == fields["compact_revision"] == revision


def test_hash_kv_tells_states_apart(real):
    async def main():
        async with AsyncClient([real], timeout_s=60) as client:
            revision = (await client.put("k", "1")).header.revision
            before = await client.hash_kv(real)
            assert (before.hash_revision, before.header.revision) == (revision, revision)
            await client.put("k", "2")
            after, again = await asyncio.gather(client.hash_kv(), client.hash_kv(revision=revision))
            assert after.hash != before.hash == again.hash
            assert (await client.hash_kv(revision=after.hash_revision)).hash == after.hash
            with pytest.raises(errors.FutureRevisionError):
                await client.hash_kv(revision=10**9)
            with pytest.raises(ValueError, match="not one of"):
                await client.hash_kv("127.0.0.1:1")

    asyncio.run(main())
