"""The raft log: one contract for the store on disk and its twin in memory, then what only a disk
can do (survive, be torn, be damaged)."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage.errors import (
    CorruptionError,
    EntriesCompactedError,
    EntriesUnavailableError,
    StorageError,
)
from sampan.storage.log_store import LogStore

from .memory_log import MemoryLog


def entry(index, term=1, kind=0, data=None):
    return (term, index, kind, b"data-%d" % index if data is None else data)


@pytest.fixture(params=["disk", "memory"])
def log(request, tmp_path):
    store = LogStore.open(tmp_path / "log") if request.param == "disk" else MemoryLog()
    yield store
    store.close()


def contents(log):
    return list(log.entries(log.first_index, log.last_index + 1))


def test_a_new_log_is_empty(log):
    assert log.hard_state() == (0, 0, 0)
    assert log.start == (0, 0)
    assert (log.first_index, log.last_index) == (1, 0)
    assert contents(log) == []


def test_saved_entries_come_back_with_type_term_and_data(log):
    entries = [entry(1, kind=0), entry(2, kind=2, data=b""), entry(3, term=2**63, kind=1)]
    log.save(entries, (2**63, 3, 1))
    log.sync()
    assert contents(log) == entries
    assert list(log.entries(2, 3)) == entries[1:2]
    assert log.hard_state() == (2**63, 3, 1)


def test_hard_state_is_kept_when_only_entries_are_saved(log):
    log.save([], (4, 2, 0))
    log.save([entry(1)], None)
    assert log.hard_state() == (4, 2, 0)


def test_a_conflicting_suffix_is_replaced_and_what_follows_goes(log):
    log.save([entry(i) for i in range(1, 7)], None)
    log.save([entry(3, term=2)], None)
    assert contents(log) == [entry(1), entry(2), entry(3, term=2)]
    assert log.last_index == 3


@pytest.mark.parametrize(
    "bad", [[entry(5)], [entry(4), entry(6)], [entry(4), entry(4)], [entry(2)], [entry(0)]]
)
def test_entries_that_do_not_join_the_log_are_refused(log, bad):
    log.save([entry(i) for i in range(1, 4)], None)
    log.compact(2, 1)
    with pytest.raises(StorageError, match="log entry"):
        log.save(bad, (9, 9, 9))
    assert contents(log) == [entry(3)]
    assert log.hard_state() == (0, 0, 0)


def test_asking_outside_the_log(log):
    log.save([entry(i) for i in range(1, 6)], None)
    log.compact(2, 1)
    with pytest.raises(EntriesCompactedError):
        log.entries(2, 4)
    with pytest.raises(EntriesUnavailableError):
        log.entries(3, 7)


def test_compaction_forgets_up_to_the_index_and_may_be_repeated(log):
    log.save([entry(i, term=i) for i in range(1, 6)], None)
    log.compact(3, 3)
    log.compact(3, 3)
    log.compact(1, 1)
    assert log.start == (3, 3)
    assert contents(log) == [entry(4, term=4), entry(5, term=5)]
    log.compact(5, 5)
    assert (log.first_index, log.last_index) == (6, 5)
    log.save([entry(6, term=6)], None)
    assert contents(log) == [entry(6, term=6)]


def test_compaction_past_the_end_is_refused(log):
    log.save([entry(1)], None)
    with pytest.raises(StorageError, match="compaction to 2"):
        log.compact(2, 1)


@pytest.mark.parametrize("index", [2, 9])
def test_reset_starts_after_the_snapshot(log, index):
    log.save([entry(i) for i in range(1, 6)], (3, 0, 1))
    log.reset(index, 3)
    assert log.start == (index, 3)
    assert contents(log) == []
    assert log.hard_state() == (3, 0, 1)
    log.save([entry(index + 1, term=3)], None)
    assert contents(log) == [entry(index + 1, term=3)]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.integers(0, 6), st.integers(1, 5)),
        st.tuples(st.just("compact"), st.integers(0, 8)),
        st.tuples(st.just("reset"), st.integers(0, 8)),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations)
def test_disk_and_memory_agree_after_any_history(fast_directories, history):
    path = next(fast_directories)
    disk, memory = LogStore.open(path), MemoryLog()
    commit = 0  # which never falls: a log in which it did would be an older one
    for term, operation in enumerate(history, start=1):
        if operation[0] == "save":
            first = max(memory.last_index + 1 - operation[1], memory.first_index)
            entries = [entry(first + i, term=term) for i in range(operation[2])]
            commit = max(commit, first)
            for log in (disk, memory):
                log.save(entries, (term, 1, commit))
        elif operation[0] == "compact":
            index = min(memory.start[0] + operation[1], memory.last_index)
            for log in (disk, memory):
                log.compact(index, term)
        elif operation[0] == "reset":
            for log in (disk, memory):
                log.reset(memory.start[0] + operation[1], term)
        else:
            disk.close()
            disk = LogStore.open(path)
        assert contents(disk) == contents(memory)
        assert disk.start == memory.start
        assert disk.hard_state() == memory.hard_state()
    disk.close()


def test_a_log_in_use_cannot_be_opened_again_and_can_after_close(tmp_path):
    log = LogStore.open(tmp_path / "log")
    log.save([entry(1)], None)
    reader = log.entries(1, 2)
    next(reader)
    del reader
    with pytest.raises(StorageError, match="cannot open"):
        LogStore.open(tmp_path / "log")
    log.close()
    log.close()
    with pytest.raises(StorageError):
        log.save([entry(2)], None)
    LogStore.open(tmp_path / "log").close()


def test_a_sync_makes_rocksdb_wait_for_the_disk(tmp_path, monkeypatch):
    log = LogStore.open(tmp_path / "log")
    log.save([entry(1)], None)
    flushes = []
    with monkeypatch.context() as patch:
        patch.setattr(log._db, "_db", SimpleNamespace(flush_wal=flushes.append))
        log.sync()
    assert flushes == [True]
    log.close()


def test_saving_goes_on_while_another_thread_syncs(tmp_path):
    log = LogStore.open(tmp_path / "log")
    stop = threading.Event()
    failures = []

    def syncing():
        try:
            while not stop.is_set():
                log.sync()
        except StorageError as error:
            failures.append(error)

    thread = threading.Thread(target=syncing)
    thread.start()
    for index in range(1, 501):
        log.save([entry(index)], (1, 1, index))
    stop.set()
    thread.join()
    assert not failures
    assert log.last_index == 500
    log.close()


WRITER = """
import sys
from pathlib import Path
from sampan.storage.log_store import LogStore
log = LogStore.open(Path(sys.argv[1]))
index = log.last_index
while True:
    log.save([(1, index + i, 0, b"x" * 3000) for i in range(1, 4)], (1, 2, index))
    log.sync()
    index += 3
    if index % 30 == 0:
        log.compact(index - 20, 1)
    print(index, flush=True)
"""


def test_kill_9_loses_nothing_that_was_synced(tmp_path):
    acknowledged = 0
    for round_number in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "log")], stdout=subprocess.PIPE
        )
        for _ in range(20 + 7 * round_number):
            acknowledged = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        log = LogStore.open(tmp_path / "log")
        assert acknowledged <= log.last_index <= acknowledged + 3
        assert log.hard_state()[2] >= acknowledged - 3
        assert all(data == b"x" * 3000 for _, _, _, data in contents(log))
        log.close()


def write_ahead_file(path: Path) -> Path:
    return max((file for file in path.glob("*.log") if file.stat().st_size), key=os.path.getmtime)


def written(file: Path) -> int:
    """How much of its size is used; the hard state at its end ends in no zero."""
    return len(file.read_bytes().rstrip(b"\0"))


def killed_log(path: Path, entries: int) -> Path:
    """A log whose entries are all in RocksDB's write-ahead file, as after kill -9."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from sampan.storage.log_store import LogStore\n"
        "log = LogStore.open(Path(sys.argv[1]))\n"
        f"for i in range(1, {entries + 1}): log.save([(1, i, 0, b'x' * 3000)], (1, 1, i))\n"
        "log.sync()\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    return write_ahead_file(path)


@pytest.mark.parametrize("cut", [1, 500, 3500])
def test_a_torn_tail_loses_only_the_tail(tmp_path, cut):
    file = killed_log(tmp_path / "log", 20)
    os.truncate(file, written(file) - cut)
    log = LogStore.open(tmp_path / "log")
    assert log.last_index == 20 - 1 - cut // 3000
    assert log.hard_state() == (1, 1, log.last_index)
    assert len(contents(log)) == log.last_index
    log.close()


def test_a_kill_just_after_the_log_file_was_changed_loses_nothing(tmp_path):
    """The one before still has room that nobody needs."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from sampan.storage.log_store import LogStore\n"
        "folder = Path(sys.argv[1])\nlog, i = LogStore.open(folder), 0\n"
        "while len(list(folder.glob('[0-9]*.log'))) < 2:\n"
        "    i += 1\n"
        "    log.save([(1, i, 0, b'x' * 100_000)], None)\n"
        "print(i, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    died = subprocess.run(command, check=False, capture_output=True, text=True)
    log = LogStore.open(tmp_path)
    assert len(contents(log)) == int(died.stdout) > 600
    assert log.repaired == ""
    log.close()


def test_damage_before_the_tail_is_refused(tmp_path):
    file = killed_log(tmp_path / "log", 40)
    with file.open("r+b") as raw:
        raw.seek(written(file) // 2)
        raw.write(b"damage")
    with pytest.raises(StorageError, match="Corruption"):
        LogStore.open(tmp_path / "log")


def test_a_damaged_table_is_reported_not_read_as_the_end(tmp_path):
    log = LogStore.open(tmp_path / "log")
    log.save([entry(i, data=os.urandom(1000)) for i in range(1, 400)], None)
    log._db.flush()
    log.close()
    table = max((tmp_path / "log").glob("*.sst"), key=lambda file: file.stat().st_size)
    with table.open("r+b") as raw:
        raw.seek(table.stat().st_size // 2)
        raw.write(b"damage" * 10)
    log = LogStore.open(tmp_path / "log")
    with pytest.raises(StorageError, match="Corruption"):
        list(log.entries(1, 400))
    log.close()


def test_a_missing_entry_is_reported_with_its_index(tmp_path):
    log = LogStore.open(tmp_path / "log")
    log.save([entry(i) for i in range(1, 6)], None)
    batch = log._db.batch()
    batch.delete(b"e" + (3).to_bytes(8, "big"))
    log._db.write(batch)
    with pytest.raises(CorruptionError, match="log entry 3 is missing"):
        list(log.entries(1, 6))
    log.close()
