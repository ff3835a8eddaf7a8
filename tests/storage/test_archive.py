"""An archive gives back the state as of any revision, and as of any moment, or says why not."""

import os
import random
from pathlib import Path

import pytest
from sampan.storage.archive import (
    Archive,
    Base,
    Position,
    Segment,
    base_name,
    segment_name,
    write_segment,
)
from sampan.storage.archived import ArchivedState, Target
from sampan.storage.errors import SnapshotError
from sampan.storage.replay import Replay
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport.codec import pack

from .model import Model

REVISIONS = int(os.environ.get("ARCHIVE_REVISIONS", "3000"))
"""Of the history; the long run has 100,000."""
TARGETS = 20
CLUSTER, MEMBER, TERM = 7, 1, 3
AUTH_REVISION = 6  # after five changes
SECOND = 1000


class Written:
    """A random history of entries, the model of what they make, and what of it is remembered."""

    def __init__(self, revisions, seed=1):
        self.rng, self.model = random.Random(seed), Model()
        self.wanted = set(self.rng.sample(range(2, revisions), min(TARGETS, revisions - 2)))
        self.known = {}  # revision -> (keys, leases) when it was made
        self.after = [(1, {}, {})]  # entry -> (revision, keys, leases)
        self.entries = []
        while self.model.revision <= revisions:
            self.entry()

    def entry(self):
        index, rng = len(self.entries) + 1, self.rng
        expires = self.model.leases and rng.random() < 0.05
        if expires:
            due = [(lease, renewed) for lease, (_, renewed) in self.model.leases.items()]
            bodies, origin = [[("lease_expire", tuple(due), rng.choice((1, 3, 100)))]], 0
        else:
            bodies = [[self.request() for _ in range(rng.randint(1, 9))] for _ in range(3)]
            origin = MEMBER
        for request in [request for body in bodies for request in body]:
            self.apply(request, index)
        data = pack((origin, index, [pack(body) for body in bodies]))
        self.entries.append((TERM, index, 0, data))
        self.after.append((self.model.revision, *self.now()))
        for revision in list(self.model.states):
            if revision != self.model.revision:
                del self.model.states[revision]

    def apply(self, request, index):
        """What expires makes a revision for each lease."""
        if request[0] != "lease_expire":
            self.step(request, index)
            return
        room = request[2]
        for lease, _ in request[1]:
            held = sum(kv[4] == lease for kv in self.now()[0].values())
            if room > 0:
                self.step(("lease_revoke", lease), index)
                room -= held

    def step(self, request, index):
        before = self.model.revision
        self.model.apply(request, index)
        if before != self.model.revision and self.model.revision in self.wanted:
            self.known[self.model.revision] = self.now()

    def now(self):
        model = self.model
        return dict(model.states[model.revision]), dict(model.leases)

    def request(self):
        rng = self.rng
        key, lease = b"k%02d" % rng.randrange(30), rng.randrange(1, 9)
        value = rng.randbytes(rng.choice((0, 5, 40)))
        return rng.choice((
            *[("put", key, value)] * 6,
            ("put", key, value, lease),
            ("delete", key),
            ("delete", key, b"k%02d" % rng.randrange(30)),
            ("lease_grant", lease, 60),
            ("lease_keep_alive", lease),
            ("lease_revoke", lease),
            ("txn", ((1, 1, key, 3),), (("put", key, b"many"),), (("delete", b"k0", b"k1"),)),
        ))  # fmt: skip


@pytest.fixture(scope="module")
def written():
    return Written(REVISIONS)


def archived(written, data_dir, directory, *, bases=(40,), member=MEMBER, last=2**63,
             cluster=CLUSTER):  # fmt: skip
    """Archive a history as a member does, in files of some entries, one entry a second."""
    archive = Archive(data_dir, (cluster, member), directory)
    snapshots, rng = SnapshotStore(data_dir / "snapshots"), random.Random(member)
    state, position, waiting = StateStore.open(data_dir / "state"), None, []
    for entry in written.entries[:last]:
        term, index, *_ = entry
        if position is not None:
            waiting.append(entry)
        apply(state, entry)
        if index in bases:
            state.commit()
            name = snapshots.create(state)
            position = archive.put_base(Base(name, index, term, state.revision), position)
        elif len(waiting) > rng.randrange(60):
            position = put(archive, waiting, position)
            waiting = []
    if waiting:
        put(archive, waiting, position)
    state.close()
    return archive


def apply(state, entry):
    Replay(state, None).apply(entry)


def put(archive, entries, position):
    times = [(index, index * SECOND) for _, index, _, _ in entries]
    before = (entries[0][1] - 1, TERM)
    return archive.put_segment(Segment(before, entries, times), position)


def restored(directory, target, path):
    """The keys and the leases of what is restored, and its revision."""
    source = ArchivedState(directory, target)
    source.verify()
    source.extract(path)
    state = StateStore.open(path)
    *_, kvs = state.range(("range", b"\0", b"\0"))
    leases = {lease: (ttl, renewed) for lease, (ttl, renewed, *_) in state.leases.all().items()}
    revision = state.revision
    state.close()
    return revision, {kv[0]: kv for kv in kvs}, leases


def test_any_revision_is_what_the_model_was(written, tmp_path, fast_directories):
    bases = [len(written.entries) * tenth // 10 + 1 for tenth in (0, 3, 7)]
    archived(written, tmp_path / "n1", tmp_path / "archive", bases=bases)
    earliest = written.after[1][0]
    for revision in sorted(written.wanted):
        if revision < earliest:
            continue
        found = restored(tmp_path / "archive", Target(revision), next(fast_directories))
        assert found == (revision, *written.known[revision])
    assert restored(tmp_path / "archive", Target(), next(fast_directories)) == written.after[-1]


def test_any_moment_is_what_was_there_then(written, tmp_path, fast_directories):
    archived(written, tmp_path / "n1", tmp_path / "archive", bases=[50, 100])
    for index in (60, 99, 100, 101, 150):
        moment = index * SECOND + SECOND // 2
        found = restored(tmp_path / "archive", Target(time_ms=moment), next(fast_directories))
        assert found == written.after[index]
    with pytest.raises(SnapshotError, match=r"begins at 1970-01-01T00:00:5\dZ, after 1970"):
        ArchivedState(tmp_path / "archive", Target(time_ms=40 * SECOND))
    with pytest.raises(SnapshotError, match=r"ends at .*Z, before 1970-01-02"):
        ArchivedState(tmp_path / "archive", Target(time_ms=24 * 3600 * SECOND + 1))


def test_members_clocks_need_not_agree(written, tmp_path, fast_directories):
    """What a fast clock says of entries before the base is no reason to find no end."""
    archive = tmp_path / "archive"
    archived(written, tmp_path / "n1", archive, bases=[20], last=20)
    for first, last, moment in ((10, 19, 1_000_000), (31, 40, 50)):
        entries = written.entries[first - 1 : last]
        with (archive / segment_name(first, last)).open("wb") as file:
            segment = Segment((first - 1, TERM), entries, [(last, moment)])
            write_segment(file, (CLUSTER, 2), segment)
    found = restored(archive, Target(time_ms=60), next(fast_directories))
    assert found == written.after[20]


def test_a_file_that_is_missing_is_made_up_for_by_another_members(
    written, tmp_path, fast_directories
):
    archive = tmp_path / "archive"
    archive.mkdir()
    archived(written, tmp_path / "n1", archive / "n1", bases=[20], last=200)
    archived(written, tmp_path / "n2", archive / "n2", bases=[30], member=2, last=200)
    gone = sorted((archive / "n1").glob("entries-*"))[3:5]
    for path in gone:
        path.unlink()
    (archive / "n2" / base_name(30)).unlink()
    assert restored(archive, Target(), next(fast_directories)) == written.after[200]
    revision = written.after[200][0]
    with pytest.raises(SnapshotError, match=rf"has a gap, after revision \d+.*: {revision} is not"):
        restored(archive / "n1", Target(revision), next(fast_directories))


def test_what_is_damaged_is_refused(written, tmp_path, fast_directories):
    archived(written, tmp_path / "n1", tmp_path / "archive", bases=[20], last=100)
    victim = sorted((tmp_path / "archive").glob("entries-*"))[1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-40] + b"x" + whole[-39:])
    with pytest.raises(SnapshotError, match=r"is damaged: its SHA-256 is another"):
        restored(tmp_path / "archive", Target(), next(fast_directories))
    victim.write_bytes(whole[:30])
    with pytest.raises(SnapshotError, match=r"is damaged"):
        restored(tmp_path / "archive", Target(), next(fast_directories))


def test_what_cannot_be_restored_is_said(written, tmp_path):
    archive = tmp_path / "archive"
    with pytest.raises(SnapshotError, match="is not a directory"):
        ArchivedState(archive, Target())
    archive.mkdir()
    with pytest.raises(SnapshotError, match="there is no base"):
        ArchivedState(archive, Target())
    archived(written, tmp_path / "n1", archive / "n1", bases=[20], last=100)
    with pytest.raises(SnapshotError, match=r"begins at revision \d+, after 2"):
        ArchivedState(archive, Target(2))
    other = archive / "other"
    archived(written, tmp_path / "n9", other, bases=[20], last=30, cluster=CLUSTER + 1)
    with pytest.raises(SnapshotError, match="archives of 2 clusters"):
        ArchivedState(archive, Target())


NOTHING = Position(20, TERM, 20, 0, 0)


def test_a_member_goes_on_where_it_was_unless_the_files_are_gone(written, tmp_path):
    archive = archived(written, tmp_path / "n1", tmp_path / "archive", bases=[20], last=100)
    position = archive.position()
    assert (position.last, position.base) == (100, 20)
    archive.note_times([(1, 2), (3, 4)])
    (tmp_path / "archive" / ".unfinished-base-0000000000000099").write_bytes(b"killed here")
    again = Archive(tmp_path / "n1", (CLUSTER, MEMBER), tmp_path / "archive")
    assert (again.position(), again.times()) == (position, [(1, 2), (3, 4)])
    position = put(again, written.entries[100:110], position)
    assert position.last == 110
    assert not list((tmp_path / "archive").glob(".*"))
    for path in (tmp_path / "archive").iterdir():
        path.unlink()
    again = Archive(tmp_path / "n1", (CLUSTER, MEMBER), tmp_path / "archive")
    assert put(again, written.entries[110:120], position) is None
    assert not (tmp_path / "n1" / "archived").exists()


def test_where_it_archives_to_is_not_looked_at_when_a_member_starts(written, tmp_path, monkeypatch):
    """That may hang, as a file system of another machine does, and the member must not."""
    archived(written, tmp_path / "n1", tmp_path / "archive", bases=[20], last=100)
    looked, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(str(path)) or real(path))
    monkeypatch.setattr(Path, "glob", lambda path, _: looked.append(str(path)) or [])
    assert Archive(tmp_path / "n1", (CLUSTER, MEMBER), tmp_path / "archive").position().last == 100
    assert looked == []


def test_a_disk_that_is_not_mounted_is_missed_and_gone_on_with_when_it_is_back(written, tmp_path):
    disk, away = tmp_path / "mnt" / "archive", tmp_path / "away"
    disk.mkdir(parents=True)
    archive = archived(written, tmp_path / "n1", disk / "n1", bases=[20], last=100)
    disk.rename(away)
    for each in (archive, Archive(tmp_path / "n1", (CLUSTER, MEMBER), disk / "n1")):
        with pytest.raises(SnapshotError, match=f"archive_dir {disk} does not exist.*mount"):
            put(each, written.entries[100:110], each.position())
        with pytest.raises(SnapshotError, match="does not exist"):
            each.put_base(Base("", 100, TERM, 100), each.position())
        assert not disk.exists()
        assert each.position().last == 100
    away.rename(disk)
    assert put(each, written.entries[100:110], each.position()).last == 110


def test_two_clusters_are_not_mixed_in_one_archive(written, tmp_path, fast_directories):
    """As when the file of a restored cluster names the archive that it was restored from."""
    archived(written, tmp_path / "n1", tmp_path / "archive", bases=[20], last=100)
    other = Archive(tmp_path / "restored", (CLUSTER + 1, MEMBER), tmp_path / "archive")
    (tmp_path / "restored").mkdir()
    with pytest.raises(SnapshotError, match="has the archive of another cluster"):
        put(other, written.entries[20:30], NOTHING)
    assert restored(tmp_path / "archive", Target(), next(fast_directories)) == written.after[100]


def commanded(data_dir, command):
    data_dir.mkdir()
    return Archive(data_dir, (CLUSTER, MEMBER), None, command)


def test_a_command_is_given_each_file(written, tmp_path, fast_directories):
    to = tmp_path / "elsewhere with a blank"
    to.mkdir()
    archive = commanded(tmp_path / "n1", f"cp %p '{to}/%f'")
    position = put(archive, written.entries[20:30], NOTHING)
    assert archive.position() == position
    (file,) = to.iterdir()
    assert file.name == "entries-0000000000000015-000000000000001e"
    assert list((tmp_path / "n1" / "archive").iterdir()) == []


def test_a_command_that_fails_is_told_of_and_has_archived_nothing(written, tmp_path):
    archive = commanded(tmp_path / "n1", "echo no room >&2; false %p")
    with pytest.raises(SnapshotError, match=r"ended with 1: no room"):
        put(archive, written.entries[20:30], NOTHING)
    assert archive.position() is None
    archive.cut_short()
    with pytest.raises(SnapshotError, match="the node stops"):
        put(archive, written.entries[20:30], NOTHING)


def test_a_command_may_say_a_lot(written, tmp_path):
    talks = "head -c 300000 /dev/zero | tr '\\0' x >&2 && cp %p ../%f"
    archive = commanded(tmp_path / "n1", talks.replace("..", str(tmp_path)))
    assert put(archive, written.entries[20:30], NOTHING).last == 30
    assert len(list(tmp_path.glob("entries-*"))) == 1


def test_a_command_that_begins_while_the_node_stops_is_ended(written, tmp_path, monkeypatch):
    archive = commanded(tmp_path / "n1", "sleep 1000; echo %p")
    monkeypatch.setattr(archive, "_check", archive.cut_short)  # just after it was looked
    with pytest.raises(SnapshotError, match="ended with -9"):
        put(archive, written.entries[20:30], NOTHING)


def judged_history(session):
    """Entries as clients with sessions make them, one of them twice, before and under auth."""
    root, reader = ("root", AUTH_REVISION), ("reader", AUTH_REVISION)
    once = [[("put", b"once", b"1"), ("put", b"once", b"2")]]
    yield [[("session_open", 1)]], None, None
    for _ in range(2):
        yield once, [(session, 1, 0)], None
    for request in (
        ("user_add", "root", b"x"), ("user_add", "reader", b"x"), ("role_add", "root"),
        ("user_grant_role", "root", "root"), ("auth_enable",),
    ):  # fmt: skip
        yield [[request]], None, None
    by_root, by_reader = [("put", b"by root", b"1")], [("put", b"by reader", b"1")]
    yield [by_root, by_reader, by_root], None, [root, reader, root]


def test_what_was_refused_or_repeated_is_so_again(tmp_path, fast_directories):
    """Up to any revision, the last in the middle of an entry."""
    state = StateStore.open(tmp_path / "state")
    session = state.apply(1, TERM, [("session_open", 1)])[0][2]
    state.close()
    entries = [
        (TERM, index, 0, pack((MEMBER, index, [pack(b) for b in bodies], stamps, whos)))
        for index, (bodies, stamps, whos) in enumerate(judged_history(session), 1)
    ]
    for until, expected in (
        (2, {b"once": b"1"}),
        (3, {b"once": b"2"}),
        (4, {b"once": b"2", b"by root": b"1"}),
        (None, {b"once": b"2", b"by root": b"1"}),
    ):
        state = StateStore.open(next(fast_directories))
        replay = Replay(state, until)
        for entry in entries:
            if not replay.done:
                replay.apply(entry)
        *_, kvs = state.range(("range", b"\0", b"\0"))
        assert {kv[0]: kv[-1] for kv in kvs} == expected
        assert state.revision == (until or 5)
        state.close()
