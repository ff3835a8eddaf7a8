"""What file systems do to the databases."""

import errno
import os
import time

import pytest
from sampan.storage.errors import StorageError
from sampan.storage.rocks import BLOB_BYTES_MIN, STATE_BLOCK_CACHE_BYTES, open_state


def write(database, pairs):
    batch = database.batch()
    for key, value in pairs:
        batch[key] = value
    database.write(batch)


def refuse_direct_io(monkeypatch, error):
    real = os.open

    def without_direct_io(path, flags, mode=0o777, **more):
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(error, os.strerror(error))
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", without_direct_io)


def test_a_file_system_without_direct_io_is_written_through_the_page_cache(tmp_path, monkeypatch):
    refuse_direct_io(monkeypatch, errno.EINVAL)
    database = open_state(tmp_path / "state")
    write(database, [(b"key", b"value")])
    database.flush()
    assert database.get(b"key") == b"value"
    database.close()
    assert not (tmp_path / "state" / "direct-io-probe").exists()


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="nothing is asked for on this system")
def test_a_folder_that_takes_no_files_is_an_error(tmp_path, monkeypatch):
    refuse_direct_io(monkeypatch, errno.EROFS)
    with pytest.raises(StorageError, match="Read-only file system"):
        open_state(tmp_path / "state")


def test_a_database_that_exists_has_its_cache_and_filters(tmp_path):
    for number in range(3):
        database = open_state(tmp_path / "state")
        assert database._db.property_value("rocksdb.block-cache-capacity") == str(
            STATE_BLOCK_CACHE_BYTES
        )
        write(database, [(b"key%d" % number, b"value")])
        database.flush()
        about = database._db.property_value("rocksdb.aggregated-table-properties")
        assert f"# entries for filter={number + 1};" in about
        database.close()


def test_the_cache_does_not_keep_what_is_in_no_file_any_more(tmp_path):
    database = open_state(tmp_path / "state")
    rounds, keys, size = 20, 100, 8_000

    def cached():
        return database._db.property_int_value("rocksdb.block-cache-usage")

    for _ in range(rounds):
        write(database, [(b"%03d" % number, os.urandom(size)) for number in range(keys)])
        database.flush()
        assert len(database.pairs(b"0", b"9")) == keys  # which puts them into the cache
    database.compact()
    deadline = time.monotonic() + 60
    while cached() > 3 * keys * size and time.monotonic() < deadline:
        time.sleep(0.01)  # files are deleted by a thread of RocksDB's
    assert cached() <= 3 * keys * size < rounds * keys * size // 5
    database.close()


# -- files with large values


def blob_files(path):
    return list(path.glob("*.blob"))


def large(number=0):
    """Other bytes at each call, which nothing compresses."""
    return os.urandom(BLOB_BYTES_MIN + number)


def test_only_large_values_go_into_files_of_their_own(tmp_path):
    database = open_state(tmp_path / "state")
    write(database, [(b"small", bytes(BLOB_BYTES_MIN - 1))])
    database.flush()
    assert not blob_files(tmp_path / "state")
    written = [(b"%d" % number, large(number)) for number in range(20)]
    write(database, written)
    database.flush()
    assert blob_files(tmp_path / "state")
    database.checkpoint(tmp_path / "copy")
    database.close()
    for path in (tmp_path / "state", tmp_path / "copy"):
        reopened = open_state(path)
        assert sorted(reopened.pairs(b"0", b"9\xff")) == sorted(written)
        assert reopened.get(b"small") == bytes(BLOB_BYTES_MIN - 1)
        reopened.close()


def overwritten(database, rounds):
    """Values written again and again, and between them one a round that stays, so that no file is
    garbage as a whole. Returns how many bytes are in use in the end."""
    for number in range(rounds):
        write(database, [(b"key%d" % key, large()) for key in range(40)])
        write(database, [(b"stays%d" % number, large())])
        database.flush()
    return (40 + rounds) * BLOB_BYTES_MIN


def test_garbage_among_large_values_is_collected_when_it_is_much(tmp_path):
    database = open_state(tmp_path / "state")
    used = overwritten(database, 24)
    assert database.size_bytes() > 5 * used, "nobody has asked to collect it"

    def collected():
        write(database, [(b"a small one", b"")])
        database.flush()
        database.collect()
        return database.size_bytes() < 2.5 * used

    give_up = time.monotonic() + 60
    while not collected():
        assert time.monotonic() < give_up, f"{database.size_bytes()} bytes for {used} in use"
    assert len(database.pairs(b"key", b"stayz")) == 40 + 24
    database.close()


def test_a_compaction_of_everything_leaves_no_garbage(tmp_path):
    database = open_state(tmp_path / "state")
    used = overwritten(database, 12)
    assert database.size_bytes() > 4 * used
    database.compact()
    assert database.size_bytes() < 1.5 * used
    write(database, [(b"key%d" % key, large()) for key in range(40)])
    database.flush()
    assert len(blob_files(tmp_path / "state")) == 2, "the next flush moves nothing"
    database.close()


class Recorded:
    """An open database and what is asked of it."""

    def __init__(self, database):
        self.inner, self.calls = database, []

    def __getattr__(self, name):
        def call(*args):
            self.calls.append((name, *args))
            return getattr(self.inner, name)(*args)

        return call


def test_nobody_is_slowed_down_by_files_that_a_compaction_of_everything_keeps_waiting(tmp_path):
    database = open_state(tmp_path / "state")
    recorded = database._db = Recorded(database._db)
    database.compact()
    names = [name for name, *_ in recorded.calls]
    at = names.index("compact_range")
    slowdown = "level0_slowdown_writes_trigger"
    told = [(position, args[0][slowdown]) for position, (name, *args) in enumerate(recorded.calls)
            if name == "set_options" and slowdown in args[0]]  # fmt: skip
    assert [(position < at, files) for position, files in told] == [(True, "1000"), (False, "24")]
    database.close()
