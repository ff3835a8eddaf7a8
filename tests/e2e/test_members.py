"""Members come and go while clients work, and nothing that was acknowledged is lost."""

import random
import shutil
import signal
from contextlib import suppress

import pytest
from sampan.client import Client, SampanError
from sampan.client.errors import (
    LearnerError,
    LearnerNotReadyError,
    MemberNotFoundError,
    NotEnoughStartedError,
    NotTheLeaderError,
    PeerUrlExistsError,
)
from sampan.client.member_calls import add, remove

from .churn import Churn
from .cluster import ROUNDS, wait_for
from .growing import GrowingCluster, patiently
from .load import Load


@pytest.fixture
def make_growing(tmp_path, placement):
    made = []

    def make(**options):
        made.append(GrowingCluster(tmp_path / f"c{len(made)}", placement, **options))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.destroy()


def test_grow_and_shrink_under_load(make_growing, placement):
    most = 5 if placement == "fused" else 3
    cluster = make_growing(first=1, most=most)
    with Load(cluster.everywhere, timeout_s=10.0) as load:
        for n in range(2, most + 1):
            cluster.add(f"n{n}")
            load.wait_more()
        cluster.wait_leader()
        assert len(cluster.hashes()) == 1
        while len(cluster.names) > 1:
            cluster.remove(cluster.wait_leader())
            load.wait_more()
    cluster.wait_leader()
    load.verify()
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_a_leader_that_was_added_meanwhile_is_heard(make_growing):
    """A member that was away does not know it from its own log, which it gets from the leader."""
    cluster = make_growing(first=3, most=4, strict_reconfig_check=False)
    cluster.wait_leader()
    cluster.kill_node("n3")
    cluster.wait_leader(["n1", "n2"])
    with cluster.anyone() as client:
        peer = cluster.all["n4"]["peer"]
        added = client.member_add([peer], learner=True, auto_promote=True).member
        cluster.added("n4", added.id)
        wait_for(
            lambda: not any(m.is_learner for m in client.member_list().members), "the promotion"
        )

        def led():
            if cluster.leader() != "n4":
                with suppress(NotTheLeaderError, SampanError):
                    client.move_leader(cluster.ids["n4"])
            return cluster.leader() == "n4"

        wait_for(led, "n4 to lead")
        revision = client.put("k", "v").header.revision
    cluster.launch_node("n3")
    cluster.wait_status("n3", lambda s: s.get("revision", 0) >= revision, "what it missed")
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_a_member_is_added_after_another_was_sent_a_snapshot(make_growing):
    """It is no member in that snapshot, and needs one of its own, though nothing is written."""
    cluster = make_growing(first=3, most=4, log_entries_max=200, log_bytes_max=1 << 20)
    away = cluster.followers()[0]
    with Churn(cluster.endpoints, size_max=20_000):
        cluster.kill_and_forget(away)
    cluster.launch_node(away)
    wait_for(lambda: "snapshot installed" in cluster.log(away), "a snapshot")
    cluster.wait_leader()
    cluster.add("n4")
    assert len(cluster.hashes()) == 1
    cluster.stop()


def test_each_of_three_is_replaced(make_growing):
    """Its disk has died: it is removed, added again at its address, and starts empty."""
    cluster = make_growing(first=3, most=3)
    with Load(cluster.everywhere, timeout_s=10.0) as load:
        for name in ("n1", "n2", "n3"):
            load.wait_more()
            cluster.lose(name)
            cluster.add(name)
    cluster.wait_leader()
    load.verify()
    assert len(cluster.hashes()) == 1
    cluster.stop()


def test_several_change_at_once(make_growing, placement):
    """By joint consensus: there is no moment without a majority of the old ones and of the new."""
    first, count = (5, 2) if placement == "fused" else (3, 1)
    cluster = make_growing(first=first, most=first + count)
    names = list(cluster.all)
    gone, new = names[:count], names[first:]
    with Load(cluster.everywhere, timeout_s=10.0) as load:
        load.wait_more()
        changes = [remove(cluster.ids[name]) for name in gone]
        changes += [add([cluster.all[name]["peer"]]) for name in new]
        with cluster.anyone() as client:
            everybody = [remove(member) for member in cluster.ids.values()]
            with pytest.raises(NotEnoughStartedError):
                client.member_change([*everybody, *changes[count:]])
            response = patiently(lambda: client.member_change(changes))
        for name in gone:  # first: a file that lists them is refused to who joins
            cluster.removed(name)
        for name, member_id in zip(new, response.ids[count:], strict=True):
            cluster.added(name, member_id)
        load.wait_more()
    cluster.wait_leader()
    load.verify()
    assert len(cluster.hashes()) == 1
    assert cluster.names == names[count:]
    cluster.stop()


def test_a_removed_member_that_comes_back_disturbs_nobody(make_growing):
    """Neither the one that was down when it was removed, nor one without any data."""
    cluster = make_growing(first=3, most=4)
    cluster.kill_node("n3")
    with cluster.anyone() as client:
        patiently(lambda: client.member_remove(cluster.ids["n3"]))
        term = client.get(b"a").header.raft_term
        cluster.launch_node("n3")
        assert cluster.command("n3").wait() == 1
        assert "permanently removed" in cluster.log("n3")
        shutil.rmtree(cluster.data("n3"))
        cluster.launch_node("n3")
        assert cluster.command("n3").wait() == 1
        cluster.launch_node("n3", "--initial-cluster-state", "existing")
        assert cluster.command("n3").wait() == 1
        assert client.get(b"a").header.raft_term == term
        added = client.member_add([cluster.all["n4"]["peer"]]).member
    cluster.names, cluster.endpoints = cluster.names[:2], cluster.endpoints[:2]
    cluster.added("n4", added.id)
    cluster.wait_announced()
    # Its disk is lost after it has started: an empty one must not vote under the same id.
    cluster.kill_node("n4")
    shutil.rmtree(cluster.data("n4"))
    cluster.launch_node("n4", "--initial-cluster-state", "existing")
    assert cluster.command("n4").wait() == 1
    assert "has been started before, with another data dir" in cluster.log("n4")
    assert f"sampanctl member remove {added.id:x}" in cluster.log("n4")


def test_a_learner_serves_little_and_is_promoted_by_itself(make_growing):
    cluster = make_growing(first=1, most=2)
    with cluster.anyone() as client:
        client.put(b"a", b"1")
        peer = cluster.all["n2"]["peer"]
        with pytest.raises(PeerUrlExistsError):
            client.member_add([cluster.all["n1"]["peer"]])
        with pytest.raises(NotEnoughStartedError):
            client.member_remove(1)
        with pytest.raises(MemberNotFoundError):
            client.member_promote(77)
        added = client.member_add([peer], learner=True).member
        with pytest.raises(LearnerNotReadyError):
            client.member_promote(added.id)
        cluster.added("n2", added.id)
        cluster.wait_status("n2", lambda s: s["revision"] == 2, "catching up")
        with Client([cluster.all["n2"]["client"]], timeout_s=2.0) as alone:
            assert alone.get(b"a", serializable=True).kvs[0].value == b"1"
            for call in (lambda: alone.get(b"a"), lambda: alone.put(b"a", b"2")):
                with pytest.raises(LearnerError):
                    call()
        client.member_remove(added.id)
        cluster.removed("n2")
        added = client.member_add([peer], learner=True, auto_promote=True).member
        cluster.added("n2", added.id)
        wait_for(
            lambda: not any(m.is_learner for m in client.member_list().members), "the promotion"
        )
        wait_for(lambda: len(cluster.hashes()) == 1, "equal members")


def test_leadership_moves_by_command_and_at_a_stop(make_growing):
    cluster = make_growing(first=3, most=3)
    with cluster.anyone() as client:
        follower = cluster.followers()[0]

        def moved():  # the client may not have heard yet who leads
            try:
                return client.move_leader(cluster.ids[follower])
            except NotTheLeaderError:
                return None

        wait_for(moved, "the leader to be asked")
        assert cluster.wait_leader() == follower
        term = client.get(b"a").header.raft_term
    command = cluster.command(follower)
    command.signal(signal.SIGTERM)
    assert command.wait() == 0
    left = [name for name in cluster.names if name != follower]
    cluster.wait_leader(left)
    assert cluster.wait_status(left[0])["term"] == term + 1, "handed over, not campaigned for"
    cluster._commands.pop(follower)


def test_the_majority_is_lost_for_good(make_growing):
    cluster = make_growing(first=3, most=4)
    with cluster.anyone() as client:
        client.put(b"kept", b"1")
        revision = client.get(b"kept").header.revision
    for name in cluster.names:
        cluster.wait_status(name, lambda s: s["revision"] >= revision, "catching up")
    for name in ("n2", "n3"):
        cluster.kill_node(name)
    cluster.kill_node("n1")
    cluster.launch_node("n1", "--force-new-cluster")
    with cluster.anyone() as client:
        client.put(b"new", b"2")
        assert client.get(b"kept").kvs[0].value == b"1"
        assert [m.id for m in client.member_list().members] == [1]
    cluster.ids = {"n1": 1}
    cluster._list(["n1"])
    cluster.add("n4")
    cluster.wait_leader()
    cluster._list(["n1", "n2", "n4"])
    cluster.launch_node("n2")
    assert cluster.command("n2").wait() == 1, "it was dropped"
    assert "permanently removed" in cluster.log("n2")
    cluster._list(["n1", "n4"])
    assert len(cluster.hashes()) == 1


def test_random_changes_with_kills_in_between(make_growing, placement):
    """TEST_ROUNDS says how many cycles, three where it does not."""
    cluster = make_growing(first=3, most=5)
    rng = random.Random(ROUNDS)
    with Load(cluster.everywhere, writers=2, readers=1, timeout_s=10.0) as load:
        for _ in range(ROUNDS if ROUNDS > 1 else 3):
            away = [name for name in cluster.all if name not in cluster.names]
            grows = away and (
                len(cluster.names) <= 3 or (len(cluster.names) < 5 and rng.random() < 0.5)
            )
            if grows:
                cluster.add(rng.choice(away))
            elif rng.random() < 0.5:
                cluster.remove(rng.choice(cluster.names))
            else:
                cluster.lose(rng.choice(cluster.names))
            killed = rng.choice(cluster.names)
            cluster.kill_node(killed)
            load.wait_more(10)
            cluster.launch_node(killed)
            cluster.wait_status(killed, lambda s: s["leader"] != 0, "following again")
    cluster.wait_leader()
    load.verify()
    assert len(cluster.hashes()) == 1
    cluster.stop()
