"""Kill -9 and power failures while the raft log is written, as the disk may look after them."""

import random
import shutil
import struct
from itertools import product
from pathlib import Path

import pytest
from sampan.storage import torn_log
from sampan.storage.errors import CorruptionError, StorageError
from sampan.storage.log_store import LogStore
from sampan.storage.rocks import LOG_ROOM_BYTES

SECTOR = 512
PAGE = 4096


def entry(index, size):
    return (1, index, 0, random.Random(index).randbytes(size))


def log_file(folder):
    return max(folder.glob("[0-9]*.log"))


class Failing:
    """A log with durable entries and some on which no fsync was done yet.

    `fail` makes the disk of a machine that lost its power then: of what was written since the
    fsync it has the sectors for which `has_sector` is true.
    """

    def __init__(self, folder, durable, lost):
        self.folder = folder
        self.saved = []
        self.store = LogStore.open(folder / "log")
        self._save(durable)
        self.store.sync()
        self.durable = len(self.saved)
        self._before = log_file(folder / "log").read_bytes()
        for size in lost:
            self._save([size])  # a write each
        self._after = log_file(folder / "log").read_bytes()
        changed = [i for i in range(len(self._after)) if self._after[i] != self._before[i]]
        self.sectors = range(changed[0] // SECTOR, changed[-1] // SECTOR + 1)

    def _save(self, sizes):
        first = len(self.saved) + 1
        entries = [entry(first + n, size) for n, size in enumerate(sizes)]
        self.store.save(entries, (1, 0, 0))
        self.saved += entries

    def fail(self, has_sector):
        disk = self.folder / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        shutil.copytree(self.folder / "log", disk)
        content = bytearray(self._before)
        for n, sector in enumerate(self.sectors):
            if has_sector(n):
                at = slice(sector * SECTOR, (sector + 1) * SECTOR)
                content[at] = self._after[at]
        log_file(disk).write_bytes(content)
        return disk

    def check(self, disk):
        """All that was durable is there, and of the rest what was written first."""
        store = LogStore.open(disk)
        found = list(store.entries(1, store.last_index + 1))
        store.close()
        assert self.durable <= len(found)
        assert found == self.saved[: len(found)]


@pytest.fixture
def failing(tmp_path):
    made = []

    def make(durable, lost):
        made.append(Failing(tmp_path, durable, lost))
        return made[0]

    yield make
    made[0].store.close()


def test_whatever_sectors_of_a_write_reached_the_disk(failing):
    log = failing([700] * 3, [2000])
    assert len(log.sectors) == 5
    for has in product((False, True), repeat=5):
        log.check(log.fail(has.__getitem__))


def test_whatever_sectors_of_several_writes_reached_the_disk(failing):
    """Across the log's blocks of 32 KiB, large and small."""
    log = failing([300] * 90, [20, 900, 40_000, 5, 7_000, 300])
    assert len(log.sectors) > 90
    rng = random.Random(1)
    for _ in range(40):
        share = rng.choice([0.05, 0.5, 0.95])
        kept = [rng.random() < share for _ in log.sectors]
        log.check(log.fail(kept.__getitem__))


def test_whatever_pages_of_several_writes_reached_the_disk(failing):
    log = failing([300] * 90, [3_000] * 15)
    pages = [sector * SECTOR // PAGE for sector in log.sectors]
    rng = random.Random(2)
    for _ in range(40):
        kept = {page for page in set(pages) if rng.random() < 0.7}
        log.check(log.fail([page in kept for page in pages].__getitem__))


def test_a_torn_write_is_reported(failing):
    log = failing([700] * 3, [2000])
    store = LogStore.open(log.fail(lambda n: n in (0, 4)))
    assert "cut at byte" in store.repaired
    assert store.last_index == 3
    store.close()
    store = LogStore.open(log.folder / "disk")
    assert store.repaired == ""
    store.close()


def test_a_killed_process_leaves_nothing_to_repair(failing):
    log = failing([300] * 90, [2000, 5, 40_000])
    store = LogStore.open(log.fail(lambda n: True))
    assert store.repaired == ""
    assert store.last_index == 93
    store.close()


@pytest.mark.parametrize("at", [40, 900, 2000])
def test_a_byte_that_changed_is_refused(failing, at):
    log = failing([700] * 3, [10])
    disk = log.fail(lambda n: True)
    file = log_file(disk)
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(StorageError, match="Corruption"):
        LogStore.open(disk)
    assert file.read_bytes() == content, "nothing was cut"


def record(number, synced):
    """A log record of a write without entries, in whose batch nothing else stands."""
    key = torn_log.SYNCED_KEY
    put = bytes((1, len(key))) + key + bytes((16,)) + torn_log.SYNCED.pack(number, synced)
    body = b"\x01" + struct.pack("<QI", number, 1) + put
    crc = torn_log.masked_crc(body)
    return struct.pack("<IH", crc, len(body) - 1) + body


def test_what_was_written_after_a_hole_goes_in_every_file(failing):
    log = failing([700] * 3, [2000, 2000])  # writes 1 (its id) and 2, durable, 3 and 4
    disk = log.fail(lambda n: n > 5)
    first = log_file(disk)
    second = first.with_name(f"{int(first.stem) + 1:06}.log")
    second.write_bytes(record(5, 2) + record(6, 2))
    assert torn_log.cut_holes(disk)
    assert first.stat().st_size < 3000
    assert second.stat().st_size == 0


def test_a_hole_in_what_was_durable_is_refused(failing):
    log = failing([700] * 3, [2000, 2000])
    disk = log.fail(lambda n: n > 5)
    first = log_file(disk)
    second = first.with_name(f"{int(first.stem) + 1:06}.log")
    second.write_bytes(record(5, 2) + record(6, 4))
    before = first.read_bytes()
    with pytest.raises(CorruptionError, match="write 6 after it tells that all up to 4 were"):
        torn_log.cut_holes(disk)
    assert (first.read_bytes(), second.stat().st_size) == (before, len(record(5, 2)) * 2)


def test_damage_to_what_was_durable_is_refused_though_it_looks_like_a_tear(tmp_path):
    """Wherever it is: values of zeros have sectors that look as if they had not been written."""
    store = LogStore.open(tmp_path / "log")
    for index in range(1, 101):
        store.save([(1, index, 0, bytes(2000))], (1, 0, index - 1))
        store.sync()
    content = log_file(tmp_path / "log").read_bytes()
    end = len(content.rstrip(b"\0")) - 4_000  # the last two: nothing tells that they were durable
    rng = random.Random(3)
    for n in range(25):
        disk = tmp_path / f"disk{n}"
        shutil.copytree(tmp_path / "log", disk)
        damaged = bytearray(content)
        damaged[rng.randrange(end)] ^= 1 << rng.randrange(8)
        log_file(disk).write_bytes(damaged)
        with pytest.raises(CorruptionError):
            LogStore.open(disk)
        assert log_file(disk).read_bytes() == damaged, "nothing was cut"
    store.close()


def test_the_log_file_has_its_size_before_its_records(tmp_path):
    store = LogStore.open(tmp_path / "log")
    file = log_file(tmp_path / "log")
    sizes = []
    for index in range(1, 60):
        store.save([entry(index, 300_000)], None)
        sizes.append(file.stat().st_size - index * 300_000)
    assert min(sizes) > LOG_ROOM_BYTES // 2
    store.close()
    assert store.size_bytes() < 59 * 301_000, "closed, the file has the size of what is in it"


def test_log_files_are_in_the_order_of_their_numbers():
    names = ["1000000.log", "000002.log", "999999.log", "1000001.log", "000010.log"]
    ordered = sorted(map(Path, names), key=torn_log.age)
    assert [int(path.stem) for path in ordered] == [2, 10, 999999, 1000000, 1000001]


FRAGMENTS = 60
UNFINISHED = (FRAGMENTS - 1) * 32 * 1024 + 1000


class Killed:
    """A log whose writer was killed while it wrote a record of many fragments."""

    def __init__(self, folder, before, *, alone=False):
        self.folder = folder
        self.store = LogStore.open(folder / "log")
        self.saved = [entry(n, size) for n, size in enumerate(before, 1)]
        for each in self.saved:
            self.store.save([each], None)
        self.store.sync()
        if alone:  # the record is the first in its file
            self.store.close()
            self.store = LogStore.open(folder / "log")
        self.store.save([entry(len(before) + 1, UNFINISHED)], None)
        self.content = log_file(folder / "log").read_bytes()
        found = list(torn_log.fragments(self.content))
        first = max(n for n, (begin, _) in enumerate(found) if self.content[begin + 6] == 2)
        self.record = found[first:]

    def fail(self, cut):
        """The log with zeros from `cut` on."""
        disk = self.folder / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        shutil.copytree(self.folder / "log", disk)
        log_file(disk).write_bytes(self.content[:cut] + bytes(len(self.content) - cut))
        return disk

    def check(self, cut):
        """What was saved before the record is there."""
        store = LogStore.open(self.fail(cut))
        found = list(store.entries(1, store.last_index + 1))
        store.close()
        assert "cut at byte" in store.repaired, f"cut at {cut}"
        assert found == self.saved, f"cut at {cut}"


@pytest.fixture(params=[True, False], ids=["alone", "after-others"])
def killed(tmp_path, request):
    log = Killed(tmp_path, [300, 300, 700], alone=request.param)
    yield log
    log.store.close()


def test_killed_between_any_two_fragments_of_a_record(killed):
    """A record of fewer fragments looks the same there."""
    assert len(killed.record) == FRAGMENTS
    for _, end in killed.record[:-1]:
        killed.check(end)


def test_killed_within_a_fragment(killed):
    """The kernel ends a write between two pages."""
    for begin, end in killed.record[:2] + killed.record[-2:]:
        for cut in range(begin + PAGE - begin % PAGE, end, PAGE):
            killed.check(cut)


@pytest.mark.parametrize("bytes_written", range(1, 7))
def test_killed_within_the_header_of_a_record(tmp_path, bytes_written):
    """Where a page ends in it."""
    wanted = PAGE - bytes_written
    size = 3_000
    for attempt in range(3):  # the size takes a byte more or less, and then it is one off
        log = Killed(tmp_path / str(attempt), [size])
        off = wanted - log.record[0][0]
        if not off:
            break
        size += off
        log.store.close()
    log.check(PAGE)
    log.store.close()


def test_a_cut_log_goes_on(killed):
    store = LogStore.open(killed.fail(killed.record[5][1]))
    more = entry(store.last_index + 1, 50_000)
    store.save([more], (1, 0, 0))
    store.sync()
    store.close()
    store = LogStore.open(killed.folder / "disk")
    assert store.repaired == ""
    assert list(store.entries(more[1], more[1] + 1)) == [more]
    store.close()


def test_an_unfinished_record_that_was_durable_is_refused(killed):
    """A later write knows that all of it was on the disk."""
    disk = killed.fail(killed.record[7][1])
    first = log_file(disk)
    number = torn_log._number_at(killed.content, killed.record[0][0])
    later = first.with_name(f"{int(first.stem) + 1:06}.log")
    later.write_bytes(record(number + 1, number))
    before = first.read_bytes()
    with pytest.raises(CorruptionError, match=f"all up to {number} were durable"):
        torn_log.cut_holes(disk)
    assert first.read_bytes() == before
    later.write_bytes(record(number + 1, number - 1))
    assert torn_log.cut_holes(disk)


def test_of_several_lost_writes_the_first_decides_whether_it_was_durable(failing):
    log = failing([700] * 3, [2000, 2000, 2000])  # writes 3 to 5 are lost
    disk = log.fail(lambda n: False)
    first = log_file(disk)
    first.with_name(f"{int(first.stem) + 1:06}.log").write_bytes(record(6, 3))
    content = bytearray(first.read_bytes())
    content[len(content.rstrip(b"\0")) + 3_000] = 1  # something after the hole
    first.write_bytes(content)
    with pytest.raises(CorruptionError, match="all up to 3 were durable"):
        torn_log.cut_holes(disk)
