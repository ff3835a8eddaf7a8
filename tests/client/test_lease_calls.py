"""The calls about leases, against a real node."""

import asyncio
import time

import pytest
from sampan.client import AsyncClient, Client, errors


def test_a_lease_and_its_keys(real):
    with Client([real]) as client:
        granted = client.lease_grant(60)
        assert 0 < granted.id < 2**63
        assert granted.ttl_s == 60
        for name in ("lease/b", "lease/a"):
            client.put(name, "", lease=granted.id)
        left = client.lease_time_to_live(granted.id, keys=True)
        assert (left.id, left.granted_ttl_s) == (granted.id, 60)
        assert 0 <= left.ttl_s <= 60
        assert left.keys == [b"lease/a", b"lease/b"]
        assert client.lease_time_to_live(granted.id).keys == []
        assert granted.id in client.leases().leases
        renewed = client.lease_keep_alive_once(granted.id)
        assert (renewed.id, renewed.ttl_s) == (granted.id, 60)
        revision = client.get("lease/a").header.revision
        assert client.lease_revoke(granted.id).header.revision == revision + 1
        assert client.get("lease/", prefix=True).count == 0
        assert granted.id not in client.leases().leases
        assert client.lease_time_to_live(granted.id)[2:] == (0, -1, [])


def test_a_chosen_id_the_shortest_and_the_longest(real):
    async def main():
        async with AsyncClient([real]) as client:
            assert (await client.lease_grant(0, lease_id=1000)).ttl_s == 2
            with pytest.raises(errors.LeaseExistsError):
                await client.lease_grant(5, lease_id=1000)
            with pytest.raises(errors.LeaseTtlTooLargeError):
                await client.lease_grant(9_000_000_001)
            longest = await client.lease_grant(9_000_000_000)
            assert (await client.lease_time_to_live(longest.id)).ttl_s >= 8_999_999_000
            listed = (await client.leases()).leases
            assert listed.index(1000) < listed.index(longest.id)
            await asyncio.gather(*[client.lease_revoke(each) for each in (1000, longest.id)])
            for call in (client.lease_revoke, client.lease_keep_alive_once):
                with pytest.raises(errors.LeaseNotFoundError):
                    await call(1000)
            assert (await client.lease_time_to_live(1000, keys=True))[2:] == (0, -1, [])
            with pytest.raises(errors.InvalidRequestError, match="malformed"):
                await client.lease_grant(-1)

    asyncio.run(main())


def test_a_lease_that_nobody_renews_ends_with_its_keys_and_not_before(real):
    with Client([real], timeout_s=60) as client:
        asked = time.monotonic()
        lease = client.lease_grant(2).id
        client.put("mortal", "", lease=lease)
        while client.get("mortal").count:
            pass
        assert time.monotonic() - asked >= 2
        assert client.lease_time_to_live(lease).ttl_s == -1
        with pytest.raises(errors.LeaseNotFoundError):
            client.put("mortal", "", lease=lease)
