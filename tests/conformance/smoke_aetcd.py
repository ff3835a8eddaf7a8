"""aetcd (asyncio) against one endpoint, HOST:PORT as the argument: a line for what went well."""

import asyncio
import sys

import aetcd


async def main(host, port):
    async with aetcd.Client(host, port) as client:
        await client.delete_prefix(b"aetcd/")
        await client.put(b"aetcd/a", b"1")
        assert (await client.get(b"aetcd/a")).value == b"1"
        assert [kv.key for kv in await client.get_prefix(b"aetcd/")] == [b"aetcd/a"]
        assert await client.replace(b"aetcd/a", b"1", b"2")
        print("kv")
        lease = await client.lease(60)
        await client.put(b"aetcd/leased", b"x", lease=lease)
        assert (await lease.remaining_ttl()) <= 60
        assert list(await lease.keys()) == [b"aetcd/leased"]
        await lease.refresh()
        await lease.revoke()
        assert await client.get(b"aetcd/leased") is None
        print("lease")
        watch = await client.watch(b"aetcd/watched")
        await client.put(b"aetcd/watched", b"3")
        async for event in watch:
            assert event.kv.value == b"3"
            break
        await watch.cancel()
        print("watch")
        async with client.lock(b"aetcd/lock", ttl=30) as lock:
            assert await lock.is_acquired()
        print("lock")
        assert (await client.status()).version
        assert [member async for member in client.members()]
        print("cluster")


host, _, port = sys.argv[1].rpartition(":")
asyncio.run(main(host, int(port)))
