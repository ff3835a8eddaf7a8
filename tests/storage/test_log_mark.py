"""A raft log that is not the one that was here, or is older, is refused."""

import shutil

import pytest
from sampan.storage import log_mark
from sampan.storage.errors import CorruptionError, StorageError
from sampan.storage.log_mark import LogMark
from sampan.storage.log_store import LogStore


def write(store, first, last, term=1, vote=1):
    for index in range(first, last + 1):
        store.save([(term, index, 0, b"x" * 100)], (term, vote, index))
    store.sync()


@pytest.fixture
def path(tmp_path):
    """A log of 200 entries, closed."""
    store = LogStore.open(tmp_path / "log")
    write(store, 1, 200)
    store.close()
    return tmp_path / "log"


def refused(path, match):
    for _ in range(2):  # a refusal does not help the next start to something worse
        with pytest.raises(CorruptionError, match=match):
            LogStore.open(path)


def test_a_log_that_is_gone(path):
    shutil.rmtree(path)
    refused(path, "is gone; .* restore the whole data directory")


def test_a_log_without_its_current_file(path):
    (path / "CURRENT").unlink()
    refused(path, "is gone")


def test_another_members_log(path, tmp_path):
    other = LogStore.open(tmp_path / "other")
    write(other, 1, 300)
    other.close()
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "other", path)
    refused(path, "is not the one that was here")


def test_an_older_copy(path, tmp_path):
    shutil.copytree(path, tmp_path / "copy")
    store = LogStore.open(path)
    write(store, 201, 300)
    store.mark()
    store.close()
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "copy", path)
    refused(path, r"ends before what was durable in it, \(term, commit\) \(1, 300\)")


def test_a_log_whose_newest_file_is_gone(tmp_path):
    path = tmp_path / "log"
    store = LogStore.open(path)
    write(store, 1, 100)
    store.mark()
    copy = tmp_path / "copy" / "log"
    shutil.copytree(path, copy)
    shutil.copy(tmp_path / "log-mark", copy.parent)
    store.close()
    max(copy.glob("[0-9]*.log")).unlink()
    with pytest.raises(StorageError):
        LogStore.open(copy)


@pytest.mark.parametrize("cut", [1, 60, 200])
def test_a_log_whose_manifest_was_cut(path, cut):
    """The last few bytes may tell of nothing that matters."""
    manifest = max(path.glob("MANIFEST-*"))
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    try:
        store = LogStore.open(path)
    except StorageError:
        return
    assert [e[1] for e in store.entries(1, 201)] == list(range(1, 201))
    store.close()


def test_another_vote_in_the_same_term(path):
    mark = log_mark.read(path.with_name("log-mark"))
    log_mark.write(path.with_name("log-mark"), mark._replace(vote=2))
    refused(path, "holds another vote in term 1")


def test_a_vote_may_be_given_and_a_term_may_begin(path):
    mark = log_mark.read(path.with_name("log-mark"))
    for older in (mark._replace(vote=0), mark._replace(term=0, vote=9), mark._replace(commit=3)):
        log_mark.write(path.with_name("log-mark"), older)
        LogStore.open(path).close()
        assert log_mark.read(path.with_name("log-mark")) == mark


def test_only_what_is_durable_is_marked(tmp_path):
    store = LogStore.open(tmp_path / "log")
    assert store.is_marked
    store.save([(1, 1, 0, b"")], (1, 1, 0))
    assert store.is_marked, "nothing new is durable"
    store.sync()
    assert not store.is_marked
    store.mark()
    assert store.is_marked
    assert log_mark.read(tmp_path / "log-mark")[1:] == (1, 1, 0)
    store.close()


def test_a_mark_is_on_the_disk_when_it_was_written(path, disk_calls):
    mark = path.with_name("log-mark")
    log_mark.write(mark, log_mark.read(mark)._replace(term=9))
    assert disk_calls == [("sync", mark)]


def test_a_crash_before_the_first_mark(tmp_path):
    LogStore.open(tmp_path / "log").close()
    (tmp_path / "log-mark").unlink()
    store = LogStore.open(tmp_path / "log")
    write(store, 1, 3)
    store.close()
    store = LogStore.open(tmp_path / "log")
    assert store.last_index == 3
    store.close()


@pytest.mark.parametrize("content", [b"", b"x", bytes(37)])
def test_a_damaged_mark(path, content):
    path.with_name("log-mark").write_bytes(content)
    refused(path, "log-mark is damaged")


def test_a_mark_of_a_newer_version(tmp_path, monkeypatch):
    monkeypatch.setattr(log_mark, "_VERSION", 2)
    log_mark.write(tmp_path / "m", LogMark(1, 2, 3, 4))
    monkeypatch.undo()
    with pytest.raises(StorageError, match="has version 2, this is for 1"):
        log_mark.read(tmp_path / "m")
