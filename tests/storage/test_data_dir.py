"""The data directory: created once, locked, and refused with one sentence when it is not ours."""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from sampan.storage.data_dir import DataDir, write_durably
from sampan.storage.errors import (
    DataDirAccessError,
    DataDirForeignError,
    DataDirFormatError,
    DataDirInUseError,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nodes" / "data"


def test_a_missing_directory_is_created_private_and_complete(path):
    data_dir = DataDir.open(path, 7, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert sorted(os.listdir(path)) == ["LOCK", "identity", "log", "snapshots", "state"]
    data_dir.close()


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, disk_calls):
    file, temporary = tmp_path / "file", tmp_path / "file.tmp"
    write_durably(file, b"data")
    assert disk_calls == [("sync", temporary), ("rename", temporary, file), ("sync", tmp_path)]


def test_reopening_keeps_the_incarnation_and_wiping_changes_it(path, tmp_path):
    first = DataDir.open(path, 7, 1)
    first.close()
    first.close()
    again = DataDir.open(path, 7, 1)
    assert again.incarnation == first.incarnation
    again.close()
    wiped = DataDir.open(tmp_path / "other", 7, 1)
    assert wiped.incarnation != first.incarnation
    wiped.close()


def test_the_lock_excludes_another_process_and_names_it(path):
    DataDir.open(path, 7, 1).close()
    script = (
        "import sys\nfrom pathlib import Path\nfrom sampan.storage.data_dir import DataDir\n"
        "kept = DataDir.open(Path(sys.argv[1]), 7, 1)\nprint('locked', flush=True)\n"
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"locked\n"
    with pytest.raises(DataDirInUseError, match=f"pid {child.pid}"):
        DataDir.open(path, 7, 1)
    child.kill()
    child.communicate()
    DataDir.open(path, 7, 1).close()


@pytest.mark.parametrize(("cluster_id", "member_id"), [(8, 1), (7, 2)])
def test_another_cluster_or_member_is_refused(path, cluster_id, member_id):
    DataDir.open(path, 7, 1).close()
    with pytest.raises(DataDirForeignError, match="but this node is configured as"):
        DataDir.open(path, cluster_id, member_id)
    DataDir.open(path, 7, 1).close()


@pytest.mark.parametrize("leftover", ["notes.txt", "log/000001.log"])
def test_a_directory_that_holds_something_else_is_never_initialised(path, leftover):
    (path / leftover).parent.mkdir(parents=True)
    (path / leftover).write_text("precious")
    with pytest.raises(DataDirForeignError, match="has no identity"):
        DataDir.open(path, 7, 1)
    assert (path / leftover).read_text() == "precious"


def test_an_interrupted_creation_is_completed(path):
    (path / "log").mkdir(parents=True)
    (path / "LOCK").touch()
    (path / "identity.tmp").write_text("{")
    created = DataDir.open(path, 7, 1)
    created.close()
    again = DataDir.open(path, 7, 1)
    assert again.incarnation == created.incarnation
    again.close()


def identity(path, **changes):
    fields = json.loads((path / "identity").read_text()) | changes
    (path / "identity").write_text(json.dumps(fields))


def test_an_older_format_is_refused(path):
    DataDir.open(path, 7, 1).close()
    identity(path, format=1)
    with pytest.raises(DataDirFormatError, match="older than 2"):
        DataDir.open(path, 7, 1)


def test_a_newer_format_is_refused(path):
    DataDir.open(path, 7, 1).close()
    identity(path, format=3, cluster_id=99)
    with pytest.raises(DataDirFormatError, match="newer than 2"):
        DataDir.open(path, 7, 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": "2"}', "\x00\xff"])
def test_a_damaged_identity_is_refused(path, text):
    DataDir.open(path, 7, 1).close()
    (path / "identity").write_text(text)
    with pytest.raises(DataDirFormatError, match="is damaged"):
        DataDir.open(path, 7, 1)


def test_wide_permissions_are_narrowed(path):
    path.mkdir(parents=True, mode=0o755)
    DataDir.open(path, 7, 1).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_symbolic_link_or_file_is_refused(path, tmp_path):
    (tmp_path / "real").mkdir()
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real")
    with pytest.raises(DataDirAccessError, match="symbolic link"):
        DataDir.open(path, 7, 1)
    path.unlink()
    path.write_text("file")
    with pytest.raises(DataDirAccessError, match="symbolic link or a file"):
        DataDir.open(path, 7, 1)


def test_a_lock_that_is_a_symbolic_link_is_refused(path, tmp_path):
    path.mkdir(parents=True)
    (path / "LOCK").symlink_to(tmp_path / "victim")
    with pytest.raises(DataDirAccessError, match="cannot be used"):
        DataDir.open(path, 7, 1)
    assert not (tmp_path / "victim").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataDirAccessError, match="cannot be used"):
        DataDir.open(tmp_path / "file" / "data", 7, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_directory_is_refused(path):
    path.mkdir(parents=True)
    os.chown(path, 12345, -1)
    with pytest.raises(DataDirAccessError, match="belongs to user 12345"):
        DataDir.open(path, 7, 1)


def test_each_start_has_a_number_of_its_own(path, tmp_path):
    data_dir = DataDir.open(path, 7, 1)
    assert [data_dir.count_start() for _ in range(3)] == [1, 2, 3]
    data_dir.close()
    shutil.copytree(path, tmp_path / "copy")
    data_dir = DataDir.open(path, 7, 1)
    assert data_dir.count_start() == 4
    data_dir.close()
    copied = DataDir.open(tmp_path / "copy", 7, 1)
    assert copied.count_start() == 4, "as the copy knows nothing of the one before"
    copied.close()


def test_the_number_of_a_start_is_durable_first(path, disk_calls):
    data_dir = DataDir.open(path, 7, 1)
    data_dir.count_start()
    del disk_calls[:]
    data_dir.count_start()
    assert disk_calls == [("sync", path / "starts")]
    data_dir.close()


@pytest.mark.parametrize("damage", [b"", b"seven", b"\0" * 21, b"-0000000000000000007\n"])
def test_a_damaged_number_is_refused(path, damage):
    data_dir = DataDir.open(path, 7, 1)
    data_dir.count_start()
    (path / "starts").write_bytes(damage)
    with pytest.raises(DataDirFormatError, match="starts is damaged"):
        data_dir.count_start()
    data_dir.close()


@pytest.mark.parametrize("prepared", [False, True])
def test_a_renamed_member_does_not_start_empty(path, prepared):
    DataDir.open(path, 7, 1).close()
    new = path.with_name("new")
    if prepared:
        new.mkdir()
    with pytest.raises(DataDirForeignError, match="was it renamed") as refused:
        DataDir.open(new, 7, 1)
    assert str(path) in str(refused.value)
    assert new.exists() == prepared
    command = str(refused.value).split("`")[1]
    subprocess.run(command, shell=True, check=True)
    DataDir.open(new, 7, 1).close()
    assert not path.exists()


def test_directories_beside_it_that_are_not_its_own_are_nobodys_business(path):
    DataDir.open(path, 7, 1).close()
    path.with_name("file").write_text("")
    path.with_name("empty").mkdir()
    path.with_name("damaged").mkdir()
    (path.with_name("damaged") / "identity").write_text("{")
    DataDir.open(path.with_name("second"), 7, 2).close()
    DataDir.open(path.with_name("other-cluster"), 8, 1).close()
