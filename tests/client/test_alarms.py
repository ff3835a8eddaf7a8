"""A node that is full: what it refuses, what it does not, and how it comes back."""

import asyncio
import os

import pytest
from sampan.client import AsyncClient, Client, alarm_calls, errors, ops

from .real_node import real_node

QUOTA = 2 << 20
VALUE = os.urandom(100_000)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The endpoint of a node with a quota of 2 MiB."""
    with real_node(tmp_path_factory.mktemp("small"), quota_bytes=QUOTA) as endpoint:
        yield endpoint


def fill(client):
    """Put until the node is full; returns how many keys there are."""
    count = 0
    while True:
        try:
            client.put(f"fill/{count}", VALUE)
        except errors.NoSpaceError:
            return count
        count += 1
        assert count < 10_000, "a node with a quota of 2 MiB took 1 GB"


def test_a_full_node_refuses_what_makes_it_larger_and_comes_back_by_itself(small):
    with Client([small], timeout_s=30) as client:
        count = fill(client)
        [alarm] = client.alarm_list().alarms
        assert (alarm.member_id, alarm.alarm, alarm.name) == (1, alarm_calls.NOSPACE, "NOSPACE")
        assert client.status().fields["alarms"] == ((1, alarm_calls.NOSPACE),)
        with pytest.raises(errors.NoSpaceError, match="etcdserver: mvcc: database space exceeded"):
            client.lease_grant(60)
        with pytest.raises(errors.NoSpaceError):
            client.txn([], [ops.get("a")], [ops.put("a", "b")])
        assert client.get("fill/", prefix=True, count_only=True).count == count
        assert client.txn([], [ops.delete("fill/0")]).responses[0].deleted == 1
        assert client.delete("fill/", prefix=True).deleted == count - 1
        client._call("write", ("compact", client.get("fill/").header.revision), None)
        while client.alarm_list().alarms:
            pass
        client.put("fill/0", VALUE)


def test_an_alarm_that_is_disarmed_too_early_is_raised_again(small):
    async def main():
        async with AsyncClient([small], timeout_s=30) as client:
            [alarm] = (await client.alarm_disarm()).alarms
            assert alarm.name == "NOSPACE"
            while not (await client.alarm_list()).alarms:
                pass
            with pytest.raises(errors.NoSpaceError):
                await client.put("a", "b")
            assert (await client.alarm_disarm(2)).alarms == []
            with pytest.raises(errors.InvalidRequestError):
                await client.alarm_disarm(-1)

    with Client([small], timeout_s=30) as client:
        fill(client)
    asyncio.run(main())
