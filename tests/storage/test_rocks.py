"""What file systems do to the databases."""

import errno
import os

import pytest
from sampan.storage.errors import StorageError
from sampan.storage.rocks import STATE_BLOCK_CACHE_BYTES, open_state


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
    batch = database.batch()
    batch[b"key"] = b"value"
    database.write(batch)
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
        batch = database.batch()
        batch[b"key%d" % number] = b"value"
        database.write(batch)
        database.flush()
        about = database._db.property_value("rocksdb.aggregated-table-properties")
        assert f"# entries for filter={number + 1};" in about
        database.close()
