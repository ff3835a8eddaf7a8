"""A backup is the whole state, or it is refused; a restored member starts from it."""

import hashlib

import pytest
from sampan.storage import restore as restoring
from sampan.storage.backup import BackupFile, BackupSource, head
from sampan.storage.data_dir import DataDir
from sampan.storage.errors import DataDirForeignError, SnapshotError
from sampan.storage.log_store import LogStore
from sampan.storage.restore import NewMember
from sampan.storage.state_store import StateStore

MEMBERS = [NewMember(1, "a", "127.0.0.1:1"), NewMember(5, "b", "127.0.0.1:2")]
VALUES = {b"k%d" % i: bytes([i]) * 20_000 for i in range(100)}


def write_backup(path, source):
    """As a client does: what stands first, the stream, the checksum."""
    data = head(source.manifest)
    while len(data) < len(head(source.manifest)) + source.manifest.size:
        piece = source.read(len(data) - len(head(source.manifest)))
        assert piece
        data += piece
    assert source.read(source.manifest.size) == b""
    path.write_bytes(data + hashlib.sha256(data).digest())
    return path


@pytest.fixture
def backup(tmp_path):
    state = StateStore.open(tmp_path / "state")
    state.apply_conf_state(1, 1, ((9,), (), (), (), False), ((9, "old", ("h:1",), (), False, 3),))
    state.apply(2, 3, [("put", key, value) for key, value in VALUES.items()])
    state.apply(3, 3, [("delete", b"k7", b"", 0), ("lease_grant", 77, 60)])
    state.apply(4, 3, [("put", b"leased", b"v", 77)])
    state.commit()
    state.flush()
    source = BackupSource(tmp_path / "snapshots" / "backup-1", state)
    state.apply(5, 3, [("put", b"later", b"v")])
    path = write_backup(tmp_path / "backup", source)
    source.remove()
    assert not (tmp_path / "snapshots" / "backup-1").exists()
    state.close()
    return path


def restored(tmp_path, backup, **options):
    restoring.restore(BackupFile(backup), tmp_path / "new", 42, 5, MEMBERS, **options)
    return StateStore.open(tmp_path / "new" / "state")


def test_everything_is_there_as_of_the_backup_and_nothing_later(tmp_path, backup):
    state = restored(tmp_path, backup)
    *_, kvs = state.range(("range", b"\0", b"\0"))
    found = {kv[0]: kv[-1] for kv in kvs}
    assert found == {k: v for k, v in VALUES.items() if k != b"k7"} | {b"leased": b"v"}
    assert state.applied_index == 4
    assert list(state.leases.all()) == [77]
    state.close()


def test_the_members_are_the_new_clusters_and_the_log_begins_after_the_backup(tmp_path, backup):
    state = restored(tmp_path, backup)
    conf_state, members = state.members.conf_state, state.members.all
    assert conf_state == ((1, 5), (), (), (), False)
    assert [(m[0], m[1], m[2], m[5]) for m in members] == [
        (1, "a", ("127.0.0.1:1",), 0), (5, "b", ("127.0.0.1:2",), 0),
    ]  # fmt: skip
    state.close()
    log = LogStore.open(tmp_path / "new" / "log")
    assert (log.start, log.last_index, log.hard_state()) == ((4, 3), 4, (3, 0, 4))
    log.close()
    DataDir.open(tmp_path / "new", 42, 5).close()


@pytest.mark.parametrize(("options", "bump", "compacted"), [
    ({}, restoring.BUMP_REVISION, False),
    ({"bump_revision": 0}, 0, False),
    ({"bump_revision": 7, "mark_compacted": True}, 7, True),
])  # fmt: skip
def test_revisions_go_on_above_those_that_the_lost_cluster_may_have_given(
    tmp_path, backup, options, bump, compacted
):
    before = BackupFile(backup).manifest.revision
    state = restored(tmp_path, backup, **options)
    assert state.revision == before + bump
    assert state.compact_revision == (state.revision if compacted else 0)
    state.apply(5, 4, [("put", b"next", b"v")])
    assert state.revision == before + bump + 1
    state.close()


def test_a_directory_that_holds_something_is_not_touched(tmp_path, backup):
    DataDir.open(tmp_path / "new", 42, 5).close()
    (tmp_path / "new" / "state" / "CURRENT").write_text("precious")
    with pytest.raises(DataDirForeignError, match="holds data"):
        restored(tmp_path, backup)
    assert (tmp_path / "new" / "state" / "CURRENT").read_text() == "precious"


def test_no_byte_can_change_unnoticed(tmp_path, backup):
    data = backup.read_bytes()
    positions = {*range(60), *range(len(data) - 40, len(data)), *range(0, len(data), 99_991)}
    for at in positions:
        backup.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(SnapshotError):
            BackupFile(backup).verify()


def test_nothing_can_be_missing_unnoticed(tmp_path, backup):
    data = backup.read_bytes()
    for size in [*range(100), len(data) // 2, len(data) - 33, len(data) - 32, len(data) - 1]:
        backup.write_bytes(data[:size])
        with pytest.raises(SnapshotError):
            BackupFile(backup).verify()
    backup.write_bytes(data + b"x")
    with pytest.raises(SnapshotError, match="not whole"):
        BackupFile(backup)


def test_its_length_is_what_etcdctl_takes_for_whole(backup):
    assert backup.stat().st_size % 512 == 32


def test_another_file_is_said_to_be_none(tmp_path):
    (tmp_path / "etcd.db").write_bytes(bytes(4096))
    with pytest.raises(SnapshotError, match="is not a backup of Sampan"):
        BackupFile(tmp_path / "etcd.db")
    with pytest.raises(SnapshotError, match="cannot read"):
        BackupFile(tmp_path / "nothing")


def test_a_restore_that_fails_leaves_nothing_behind(tmp_path, backup):
    class Broken(BackupFile):
        def extract(self, directory):
            super().extract(directory)
            raise SnapshotError("the archive ends too early")

    with pytest.raises(SnapshotError, match="too early"):
        restoring.restore(Broken(backup), tmp_path / "new", 42, 5, MEMBERS)
    assert not (tmp_path / "new").exists()
