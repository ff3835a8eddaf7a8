"""Snapshots: made, sent through a pair of stores, refused when damaged, installed or not at all."""

import contextlib
import os
import stat

import pytest
from sampan.storage import snapshot_store
from sampan.storage.errors import CorruptionError, SnapshotError
from sampan.storage.snapshot_store import SYNC_BYTES, SnapshotStore, snapshot_name
from sampan.storage.state_store import StateStore
from sampan.transport.codec import pack, unpack


class Node:
    """A data directory with a state of `entries` puts."""

    def __init__(self, path, entries):
        self.path = path
        (path / "snapshots").mkdir(parents=True)
        self.snapshots = SnapshotStore(path / "snapshots")
        self.state = StateStore.open(path / "state")
        for _ in range(entries):
            index = self.state.applied_index + 1
            self.state.apply(index, 1, [("put", b"%d" % index, os.urandom(500))])
        self.state.commit()

    def content(self):
        return (self.state.applied_index, *self.state.range(("range", b"\0", b"\0")))


@pytest.fixture
def nodes(tmp_path):
    pair = Node(tmp_path / "leader", 200), Node(tmp_path / "follower", 5)
    yield pair
    for node in pair:
        node.state.close()


NAME = snapshot_name(1, 200)


def transfer(leader, follower, size=10_000):
    name = leader.snapshots.create(leader.state)
    receiving = follower.snapshots.receive(name, leader.snapshots.manifest(name))
    for chunk in leader.snapshots.chunks(name, size, {}, {}):
        assert len(chunk[2]) <= size
        receiving.write(*chunk)
    receiving.finish()
    return name


@pytest.mark.parametrize("size", [7_001, 1 << 20])
def test_a_snapshot_travels_and_is_installed(nodes, size):
    leader, follower = nodes
    sent = leader.content()
    assert transfer(leader, follower, size) == NAME
    leader.state.apply(201, 1, [("put", b"later", b"")])
    follower.state.close()
    follower.snapshots.install(NAME)
    follower.state = StateStore.open(follower.path / "state")
    assert follower.content() == sent
    assert follower.snapshots.finished() == []
    assert sorted(os.listdir(follower.path)) == ["installed", "snapshots", "state"]


def test_a_received_snapshot_is_on_the_disk_before_its_name_is(nodes, disk_calls):
    leader, follower = nodes
    leader.snapshots.create(leader.state)
    disk_calls.clear()
    transfer(leader, follower)
    snapshots = follower.path / "snapshots"
    receiving, target = snapshots / f"{NAME}.receiving", snapshots / NAME
    named = disk_calls.index(("rename", receiving, target))
    synced = {path for call, path, *_ in disk_calls[:named] if call == "sync"}
    files = {receiving / "files" / file.name for file in (target / "files").iterdir()}
    assert synced == {*files, receiving / "files", receiving / "manifest.tmp", receiving}
    assert disk_calls[named + 1 :] == [("sync", snapshots)]


def test_each_step_of_an_install_is_on_the_disk_before_the_next(nodes, disk_calls):
    _, follower = nodes
    name = received(nodes)
    disk_calls.clear()
    follower.snapshots.install(name)
    follower.state = StateStore.open(follower.path / "state")
    synced = ("sync", follower.path)
    steps = [call[2].name if call[0] == "rename" else call for call in disk_calls]
    assert steps == [
        ("sync", follower.path / "installed.tmp"), "installed", synced,
        "state.new", synced, "state.old", "state", synced,
    ]  # fmt: skip


def test_a_long_file_goes_to_the_disk_while_it_arrives(tmp_path, disk_calls):
    """Or all who wait for the disk would wait for the whole of it in the end."""
    (tmp_path / "snapshots").mkdir()
    store = SnapshotStore(tmp_path / "snapshots")
    chunk = bytes(SYNC_BYTES // 2)
    manifest = (1, 200, 1, (("CURRENT", 6 * len(chunk)),))
    receiving = store.receive(NAME, pack(manifest))
    synced_after = []
    for number in range(6):
        receiving.write("CURRENT", number * len(chunk), chunk)
        synced_after.append(len(disk_calls))
    assert synced_after == [0, 1, 1, 2, 2, 3]
    receiving.abandon()


def received(nodes):
    """The leader's snapshot, complete at the follower, whose state is closed; its name."""
    leader, follower = nodes
    name = leader.snapshots.create(leader.state)
    receiving = follower.snapshots.receive(name, leader.snapshots.manifest(name))
    for chunk in leader.snapshots.chunks(name, 1000, {}, {}):
        receiving.write(*chunk)
    receiving.finish()
    follower.state.close()
    return name


def test_an_install_removes_the_snapshots_before_it(nodes):
    _, follower = nodes
    older = follower.snapshots.create(follower.state)
    name = received(nodes)
    assert follower.snapshots.finished() == [older, name]
    follower.snapshots.install(name)
    assert follower.snapshots.finished() == []
    follower.state = StateStore.open(follower.path / "state")


def test_a_snapshot_can_be_made_where_one_was_installed(nodes):
    """Nothing was written since, and another member needs it."""
    _, follower = nodes
    name = received(nodes)
    follower.snapshots.install(name)
    assert os.listdir(follower.path / "snapshots") == []
    follower.state = StateStore.open(follower.path / "state")
    assert follower.snapshots.create(follower.state) == name


def test_a_state_that_is_a_link_is_replaced(nodes, tmp_path):
    _, follower = nodes
    follower.state.close()
    (follower.path / "state").rename(tmp_path / "elsewhere")
    (follower.path / "state").symlink_to(tmp_path / "elsewhere")
    follower.state = StateStore.open(follower.path / "state")
    follower.snapshots.install(received(nodes))
    assert not os.path.lexists(follower.path / "state.old")
    follower.snapshots.recover()
    follower.state = StateStore.open(follower.path / "state")


def test_making_again_is_free_and_newer_ones_prune_older(nodes):
    leader, _ = nodes
    name = leader.snapshots.create(leader.state)
    assert leader.snapshots.create(leader.state) == name
    leader.state.apply(201, 3, [])
    leader.state.commit()
    newer = leader.snapshots.create(leader.state)
    assert newer == snapshot_name(3, 201)
    assert leader.snapshots.finished() == [name, newer]
    leader.snapshots.prune({newer})
    assert leader.snapshots.finished() == [newer]
    with pytest.raises(SnapshotError, match="no snapshot"):
        leader.snapshots.manifest(name)


def test_a_snapshot_pruned_while_it_is_sent_fails_in_order(nodes):
    leader, _ = nodes
    name = leader.snapshots.create(leader.state)
    chunks = leader.snapshots.chunks(name, 1000, {}, {})
    next(chunks)
    leader.snapshots.prune(set())
    with pytest.raises(SnapshotError, match="cannot read"):
        list(chunks)


@pytest.mark.parametrize("damage", ["flip", "lose", "short", "repeat", "extra", "other file"])
def test_what_did_not_arrive_as_sent_is_refused_and_removed(nodes, damage):
    leader, follower = nodes
    name = leader.snapshots.create(leader.state)
    chunks = list(leader.snapshots.chunks(name, 1000, {}, {}))
    file, offset, data = chunks[3]
    if damage == "flip":
        chunks[3] = (file, offset, bytes([data[0] ^ 1]) + data[1:])
    elif damage == "lose":
        del chunks[3]
    elif damage == "short":
        del chunks[-1]
    elif damage == "repeat":
        chunks.insert(3, chunks[3])
    elif damage == "extra":
        chunks.append(chunks[-1])
    else:
        chunks[3] = ("other", offset, data)
    receiving = follower.snapshots.receive(name, leader.snapshots.manifest(name))

    def run():
        for chunk in chunks:
            receiving.write(*chunk)
        receiving.finish()

    with pytest.raises(SnapshotError):
        run()
    receiving.abandon()
    assert os.listdir(follower.path / "snapshots") == []


GOOD = (1, 200, 1, [("CURRENT", 3)])


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("../state", GOOD),
        ("snap-1-2", GOOD),
        (NAME + "/x", GOOD),
        (NAME + "\n", GOOD),
        (snapshot_name(1, 201), GOOD),
        (NAME, (2, 200, 1, [("CURRENT", 3)])),
        (NAME, (1, 200, 1)),
        (NAME, (1, 200, 1, [])),
        (NAME, (1, 200, 1, [("LOG", 3)])),
        (NAME, (1, 200, 1, [("../CURRENT", 3)])),
        (NAME, (1, 200, 1, [("a/b", 3)])),
        (NAME, (1, 200, 1, [("..", 3)])),
        (NAME, (1, 200, 1, [("", 3)])),
        (NAME, (1, 200, 1, [("checksums", 3)])),
        (NAME, (1, 200, 1, [("CURRENT", -3)])),
        (NAME, (1, 200, 1, [("CURRENT", 3), ("CURRENT", 3)])),
        (NAME, (1, 200, 1, ["CURRENT"])),
        (NAME, "manifest"),
    ],
)
def test_a_bad_name_or_manifest_touches_nothing(tmp_path, name, manifest):
    store = SnapshotStore(tmp_path / "snapshots")
    with pytest.raises(SnapshotError):
        store.receive(name, pack(manifest))
    with pytest.raises(SnapshotError):
        store.receive(NAME, b"\xc1")
    assert os.listdir(tmp_path) == []


def test_a_manifest_of_more_files_than_any_state_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot_store, "FILES_MAX", 5)
    store = SnapshotStore(tmp_path)
    files = [("CURRENT", 3), *((f"{n}.sst", 3) for n in range(5))]
    store.receive(NAME, pack((1, 200, 1, files[:5]))).abandon()
    with pytest.raises(SnapshotError, match="manifest"):
        store.receive(NAME, pack((1, 200, 1, files)))


def test_a_chunk_longer_than_its_file_is_refused(tmp_path):
    receiving = SnapshotStore(tmp_path).receive(NAME, pack(GOOD))
    with pytest.raises(SnapshotError, match="chunk of CURRENT at 0, expected"):
        receiving.write("CURRENT", 0, b"abcd")
    receiving.abandon()


def test_received_files_are_private_and_never_follow_links(tmp_path):
    (tmp_path / "snapshots").mkdir()
    store = SnapshotStore(tmp_path / "snapshots")
    receiving = store.receive(NAME, pack(GOOD))
    files = tmp_path / "snapshots" / f"{NAME}.receiving" / "files"
    (files / "CURRENT").symlink_to(tmp_path / "victim")
    with pytest.raises(SnapshotError, match="exists"):
        receiving.write("CURRENT", 0, b"abc")
    assert not (tmp_path / "victim").exists()
    receiving = store.receive(NAME, pack(GOOD))
    receiving.write("CURRENT", 0, b"abc")
    assert stat.S_IMODE((files / "CURRENT").stat().st_mode) == 0o600
    receiving.abandon()


def test_a_snapshot_received_twice_replaces_the_first(nodes):
    leader, follower = nodes
    transfer(leader, follower)
    transfer(leader, follower)
    assert os.listdir(follower.path / "snapshots") == [NAME]


def test_received_snapshots_that_nobody_installs_do_not_pile_up(nodes):
    leader, follower = nodes
    for index in range(201, 205):
        leader.state.apply(index, 1, [])
        leader.state.commit()
        transfer(leader, follower)
    assert follower.snapshots.finished() == [snapshot_name(1, 203), snapshot_name(1, 204)]


def test_a_new_life_begins_without_snapshots(nodes):
    leader, follower = nodes
    transfer(leader, follower)
    follower.snapshots.receive(snapshot_name(1, 200), leader.snapshots.manifest(NAME))
    (follower.path / "snapshots" / f"{NAME}.making").mkdir()
    follower.snapshots.clean()
    assert os.listdir(follower.path / "snapshots") == [f"{NAME}.receiving"]
    follower.snapshots.forget_received()
    assert os.listdir(follower.path / "snapshots") == []


def test_installing_what_is_not_there_leaves_the_state(nodes):
    _, follower = nodes
    follower.state.close()
    with pytest.raises(SnapshotError, match="cannot install"):
        follower.snapshots.install(NAME)
    follower.snapshots.recover()
    follower.state = StateStore.open(follower.path / "state")
    follower.state.flush()
    assert (follower.path / "state").is_dir()


@pytest.mark.parametrize("moved", [False, True])
def test_an_empty_directory_does_not_replace_the_state(nodes, moved):
    """Nor is the state lost when it had been moved out of the way already."""
    _, node = nodes
    node.state.flush()
    before = node.content()
    node.state.close()
    (node.path / "state.new").mkdir()
    if moved:
        (node.path / "state").rename(node.path / "state.old")
    node.snapshots.recover()
    node.state = StateStore.open(node.path / "state")
    assert node.content() == before
    assert sorted(os.listdir(node.path)) == ["snapshots", "state"]


class Died(Exception):
    """The process ends here."""


@pytest.mark.parametrize("renames", range(5))
def test_an_install_that_dies_at_any_rename_is_finished_or_never_began(nodes, renames, monkeypatch):
    leader, follower = nodes
    transfer(leader, follower)
    follower.state.flush()
    before, sent = follower.content(), leader.content()
    follower.state.close()
    path_type = type(follower.path)
    rename, left = path_type.rename, [renames]

    def dying(self, target):
        if not left[0]:
            raise Died
        left[0] -= 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(path_type, "rename", dying)
        with contextlib.suppress(Died):
            follower.snapshots.install(NAME)
    follower.snapshots.recover()
    began = renames > 1  # the first is that of the file `installed`
    assert follower.snapshots.finished() == ([] if began else [NAME])
    follower.state = StateStore.open(follower.path / "state")
    assert follower.content() == (sent if began else before)
    assert (follower.snapshots.installed() is None) == (renames == 0), "known before it begins"


def test_the_manifest_lists_every_file_with_its_size(nodes):
    leader, _ = nodes
    name = leader.snapshots.create(leader.state)
    files = leader.path / "snapshots" / name / "files"
    listed = dict(unpack(leader.snapshots.manifest(name))[3])
    assert listed == {file.name: file.stat().st_size for file in files.iterdir()}


def test_what_was_installed_last_is_known(nodes):
    leader, follower = nodes
    assert follower.snapshots.installed() is None
    transfer(leader, follower, 1 << 20)
    follower.state.close()
    follower.snapshots.install(NAME)
    follower.state = StateStore.open(follower.path / "state")
    installed = (follower.state.applied_index, follower.state.applied_term)
    assert follower.snapshots.installed() == installed
    (follower.path / "installed").write_bytes(b"\xc1")
    with pytest.raises(CorruptionError, match=r"installed is damaged"):
        follower.snapshots.installed()
