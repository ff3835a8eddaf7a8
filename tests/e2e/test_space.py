"""Three nodes that fill up refuse to grow, and go on by themselves when there is space."""

import os

import pytest
from sampan.client import errors

from .cluster import wait_for

QUOTA = 3 << 20


def fill(client):
    count = 0
    while True:
        client.put(f"fill/{count % 50}", os.urandom(100_000))
        count += 1
        assert count < 10_000, "a cluster with a quota of 3 MiB took 1 GB"


@pytest.mark.parametrize("placement", ["processes"])
def test_every_member_raises_the_alarm_and_disarms_it(make_cluster):
    cluster = make_cluster()
    cluster.config["quota_bytes"] = QUOTA
    cluster.start()
    with cluster.client() as client:
        with pytest.raises(errors.NoSpaceError):
            fill(client)

        def raised():
            return [alarm.member_id for alarm in client.alarm_list().alarms]

        wait_for(lambda: raised() == [1, 2, 3], "all members to raise NOSPACE")
        revision = client.delete("fill/", prefix=True).header.revision
        client.compact(revision)
        wait_for(lambda: not raised(), "all members to disarm it")
        client.put("fill/0", os.urandom(100_000))
    cluster.wait_equal()
    cluster.stop()
