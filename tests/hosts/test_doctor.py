"""`sampan doctor` on healthy data directories, and on damaged ones, which it leaves as they are."""

import hashlib
import json
import os
import random
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from sampan.actors.actor import Impossible
from sampan.actors.recovery import recover
from sampan.hosts import diagnosis, doctor
from sampan.storage import data_dir, log_mark
from sampan.storage.alarms import CORRUPT, NOSPACE
from sampan.storage.data_dir import DataDir
from sampan.storage.errors import DataDirError, StorageError
from sampan.storage.log_store import LogStore, _entry_key
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore

CLUSTER, MEMBER, ENTRIES = 7, 1, 60


def member(member_id, name, incarnation=0):
    return (member_id, name, (f"10.0.0.{member_id}:2380",), (), False, incarnation)


def make(path, members=None, removed=()):
    """60 entries, applied all but the last ten; the log begins after the 20th."""
    opened = DataDir.open(path, CLUSTER, MEMBER)
    opened.count_start()
    log, state = reopened(path)
    members = members or (member(1, "n1", opened.incarnation), member(2, "n2"))
    state.members.removed = removed
    state.apply_conf_state(1, 2, ((1, 2), (), (), (), False), members)
    log.save([(2, index, 0, b"e" * 500) for index in range(1, ENTRIES + 1)], (2, 1, ENTRIES))
    apply_puts(state, ENTRIES - 10)
    log.sync()
    log.compact(20, 2)
    log.close()
    opened.close()
    return path


def reopened(path):
    return LogStore.open(path / "log"), StateStore.open(path / "state")


def apply_puts(state, last):
    """Up to this index, durably; and close it."""
    for index in range(state.applied_index + 1, last + 1):
        state.apply(index, 2, [("put", b"k%d" % index, b"v" * 300)])
    save(state)


def save(state):
    state.commit()
    state.flush()
    state.close()


@pytest.fixture
def path(tmp_path):
    return make(tmp_path / "data" / "n1")


def disk(path):
    """All that there is, with what tells that it was written."""
    return {
        file: (file.lstat().st_mode, file.lstat().st_mtime_ns, file.lstat().st_ctime_ns)
        + ((hashlib.sha256(file.read_bytes()).hexdigest(),) if file.is_file() else ())
        for file in [path, *path.rglob("*")]
    }


@pytest.fixture
def see(capsys):
    """Runs the doctor, and makes sure that nothing has changed and that it has advice."""

    def run(path, *arguments, code=0):
        before = disk(path)
        assert doctor.main([str(path), "-w", "json", *map(str, arguments)]) == code
        assert disk(path) == before
        out, err = capsys.readouterr()
        if code == 2:
            assert out == ""
            return err
        report = json.loads(out)
        assert report["well"] == (code == 0)
        found = [diagnosis.Finding(**each) for each in report["findings"]]
        assert all(each.do for each in found if each.level == "bad")
        return found

    return run


def the(found, level):
    """The one finding of that level."""
    (only,) = [each for each in found if each.level == level]
    return only


def bad(see, path, match, *arguments):
    only = the(see(path, *arguments, code=1), "bad")
    assert match in only.text
    assert "sampan-doctor-" not in only.text, "it speaks of the directory, not of its copy"
    return only


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


# -- nothing is wrong


def test_a_healthy_member(path, see, capsys):
    found = see(path)
    assert {each.level for each in found} == {"ok"}
    facts = {each.about: each.facts for each in found}
    assert facts["identity"]["member_id"] == MEMBER
    assert facts["starts"] == {"starts": 1, "killed": False}
    assert (facts["log"]["first"], facts["log"]["last"], facts["log"]["term"]) == (21, ENTRIES, 2)
    assert (facts["state"]["applied"], facts["state"]["revision"]) == (50, 50)
    assert facts["log and state"]["applied_again"] == 10
    assert [each["name"] for each in facts["members"]["members"]] == ["n1", "n2"]
    assert doctor.main([str(path)]) == 0
    text = capsys.readouterr().out
    assert text.endswith("all is well\n")
    assert text.count("\n") == len(found) + 1


def test_all_data_is_read_and_hashed(path, see):
    data = next(each for each in see(path, "--deep") if each.about == "data")
    state = StateStore.open(path / "state")
    assert data.facts["hash"] == state.hash_kv()[2]
    state.close()


def test_a_member_that_has_never_run(tmp_path, see):
    DataDir.open(tmp_path / "n1", CLUSTER, MEMBER).close()
    assert {each.level for each in see(tmp_path / "n1")} == {"ok"}


def test_a_state_that_is_not_there_yet_is_made_of_a_whole_log(tmp_path, see):
    DataDir.open(tmp_path / "n1", CLUSTER, MEMBER).close()
    log = LogStore.open(tmp_path / "n1" / "log")
    log.save([(1, 1, 0, b"e")], (1, 1, 1))
    log.close()
    assert {each.level for each in see(tmp_path / "n1")} == {"ok"}


def test_a_killed_one(path, see):
    (path / "pids.json").write_text("{}")
    starts = next(each for each in see(path) if each.about == "starts")
    assert "kill -9" in starts.text


# -- what cannot be inspected


def test_one_that_runs(path, see):
    opened = DataDir.open(path, CLUSTER, MEMBER)
    assert f"a node runs in {path} (pid {os.getpid()})" in see(path, code=2)
    opened.close()
    assert see(path)


def test_nobody_starts_meanwhile_but_others_may_look(path):
    with data_dir.held(path), data_dir.held(path), pytest.raises(data_dir.DataDirInUseError):
        DataDir.open(path, CLUSTER, MEMBER)


def test_what_is_no_data_directory(path, tmp_path, see):
    (tmp_path / "empty").mkdir()
    assert "is no member's data directory\n" in see(tmp_path / "empty", code=2)
    assert f"name one of those in it: {path}\n" in see(path.parent, code=2)
    (tmp_path / "link").symlink_to(path)
    assert "is not a directory" in see(tmp_path / "link", code=2)
    (path / "LOCK").unlink()
    (path / "LOCK").symlink_to(tmp_path / "nothing")
    assert "cannot be used" in see(path, code=2)


def test_a_configuration_that_cannot_be_read(path, see, tmp_path):
    assert "cannot be read" in see(path, "--config", tmp_path / "none.toml", code=2)


# -- beside the databases


@pytest.mark.parametrize("text", ["{", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_identity(path, see, text):
    (path / "identity").write_text(text)
    bad(see, path, str(path))


def test_an_identity_that_is_gone(path, see):
    (path / "identity").unlink()
    bad(see, path, "identity is gone")


def test_a_damaged_start_number(path, see):
    (path / "starts").write_text("x")
    assert f"member remove {MEMBER:x}" in bad(see, path, "starts is damaged").do


def test_a_copy_without_a_lock(path, see):
    (path / "LOCK").unlink()
    assert the(see(path), "warn").about == "lock"


def test_wide_permissions(path, see):
    path.chmod(0o755)
    assert "mode 0755" in the(see(path), "warn").text


def test_files_that_the_node_could_not_write(path, see):
    (path / "log" / "CURRENT").chmod(0o400)
    command = bad(see, path, "CURRENT").do.strip("`")
    subprocess.run(command, shell=True, check=True)
    assert {each.level for each in see(path)} == {"ok"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user(path, see):
    os.chown(path / "log-mark", 12345, -1)
    subprocess.run(bad(see, path, "log-mark").do.strip("`"), shell=True, check=True)
    assert {each.level for each in see(path)} == {"ok"}


def test_snapshots_that_are_left(path, see):
    state = StateStore.open(path / "state")
    SnapshotStore(path / "snapshots").create(state)
    state.close()
    (path / "snapshots" / "snap-1.receiving").mkdir()
    left = the(see(path), "warn")
    assert len(left.facts["names"]) == 2
    assert left.facts["bytes"] > 1000


def test_a_full_disk(path, see, monkeypatch):
    usage = SimpleNamespace(free=diagnosis.ROOM_BYTES_MIN - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    bad(see, path, "the log has no room")
    usage.free += 1
    assert "before the state has the size of its quota" in the(see(path), "warn").text


def config(tmp_path, **changes):
    members = [{"id": 1, "name": "n1", "client": "127.0.0.1:1", "peer": "127.0.0.1:2"}]
    values = {"cluster": "c", "cluster_id": CLUSTER, "data_dir": str(tmp_path / "data")}
    values |= {"members": members} | changes
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(values))
    return file


def test_the_configuration_tells_where_and_how_much(path, see, tmp_path):
    assert {each.level for each in see(path, "--config", config(tmp_path))} == {"ok"}
    small = config(tmp_path, quota_bytes=1)
    assert "NOSPACE will be raised" in the(see(path, "--config", small), "warn").text


def test_a_renamed_member(path, see, tmp_path):
    renamed = path.rename(path.with_name("old"))
    assert "this one is 'n1', its directory 'old'" in the(see(renamed), "warn").text
    found = see(renamed, "--config", config(tmp_path), code=1)
    command = the(found, "bad").do.split("`")[1]
    subprocess.run(command, shell=True, check=True)
    assert {each.level for each in see(path, "--config", config(tmp_path))} == {"ok"}


def test_another_clusters_configuration(path, see, tmp_path):
    bad(see, path, "it is of cluster 7,", "--config", config(tmp_path, cluster_id=8))


# -- the log


def newest_log(path):
    return max((path / "log").glob("[0-9]*.log"))


@pytest.fixture
def killed(path, tmp_path):
    """A copy of the directory of one who was killed in the midst of a large write."""
    log = LogStore.open(path / "log")
    log.save([(2, ENTRIES + 1, 0, b"e" * 200_000)], None)
    (tmp_path / "killed").mkdir()
    copy = shutil.copytree(path, tmp_path / "killed" / "n1")
    log.close()
    content = newest_log(copy).read_bytes()
    newest_log(copy).write_bytes(content[:100_000] + bytes(200_000))
    return copy


def test_a_torn_tail_is_harmless(killed, see):
    torn = the(see(killed), "warn")
    assert "Harmless" in torn.text
    log = LogStore.open(killed / "log")
    assert log.repaired == torn.facts["cut"], "the next start does as it was foretold"
    assert log.last_index == ENTRIES
    log.close()


def test_damage_to_what_was_durable(path, tmp_path, see):
    log = LogStore.open(path / "log")
    for index in range(ENTRIES + 1, ENTRIES + 11):
        log.save([(2, index, 0, b"e" * 500)], (2, 1, index))
        log.sync()
    (tmp_path / "killed").mkdir()
    copy = shutil.copytree(path, tmp_path / "killed" / "n1")
    log.close()
    flip(newest_log(copy), 1000)
    assert f"member remove {MEMBER:x}" in bad(see, copy, "orruption").do


def test_a_log_that_is_gone(path, see):
    shutil.rmtree(path / "log")
    bad(see, path, f"the raft log in {path / 'log'} is gone")


def test_an_older_copy_of_the_log(path, tmp_path, see):
    shutil.copytree(path / "log", tmp_path / "copy")
    log = LogStore.open(path / "log")
    log.save([(3, ENTRIES + 1, 0, b"e")], (3, 1, ENTRIES + 1))
    log.sync()
    log.close()
    shutil.rmtree(path / "log")
    shutil.copytree(tmp_path / "copy", path / "log")
    bad(see, path, "ends before what was durable in it")


def test_a_damaged_mark(path, see):
    flip(path / "log-mark", 5)
    bad(see, path, "log-mark is damaged")


def test_a_missing_entry(path, see):
    log = LogStore.open(path / "log")
    batch = log._db.batch()
    batch.delete(_entry_key(40))
    log._db.write(batch)
    log.close()
    bad(see, path, "log entry 40 is missing in (20, 60]")


@pytest.mark.parametrize(
    ("term", "hard", "match"),
    [(1, 2, "is of term 1, the one before of 2"), (4, 3, "ends in term 4, but the member's is 3")],
)
def test_terms_that_cannot_be(path, see, term, hard, match):
    log = LogStore.open(path / "log")
    log.save([(term, ENTRIES + 1, 0, b"")], (hard, 1, ENTRIES))
    log.close()
    bad(see, path, match)


def test_a_commit_index_past_the_log(path, see):
    log = LogStore.open(path / "log")
    log.save((), (2, 1, ENTRIES + 5))
    log.close()
    bad(see, path, "commit 65 is past the log's last entry 60")


# -- the state


def test_a_state_that_is_gone(path, see):
    shutil.rmtree(path / "state")
    bad(see, path, "the log starts after 20 but the state ends at 0")


def test_a_state_ahead_of_the_log(path, see):
    apply_puts(StateStore.open(path / "state"), ENTRIES + 4)
    bad(see, path, "the state ends at 64 of term 2 but the log at 60")


def test_a_table_that_is_gone(path, see):
    next((path / "state").glob("*.sst")).unlink()
    bad(see, path, str(path / "state"))


def test_a_damaged_table_is_found_when_all_is_read(path, see):
    flip(next((path / "state").glob("*.sst")), 700)
    bad(see, path, "orruption", "--deep")


def test_an_interrupted_install(path, see):
    (path / "state").rename(path / "state.new")
    found = see(path)
    assert the(found, "warn").facts["names"] == ["state.new"]
    assert next(each for each in found if each.about == "state").facts["applied"] == 50


def test_a_log_that_a_snapshot_has_overtaken(path, see):
    apply_puts(StateStore.open(path / "state"), ENTRIES + 4)
    state = StateStore.open(path / "state")
    store = SnapshotStore(path / "snapshots")
    name = store.create(state)
    state.close()
    store.install(name)
    assert "install was interrupted" in the(see(path), "warn").text


def test_a_removed_member(tmp_path, see):
    path = make(tmp_path / "n1", members=(member(2, "n2"),), removed=((1, ("10.0.0.1:2380",)),))
    assert "sampanctl member add" in bad(see, path, "member 1 was removed").do


def test_a_directory_that_the_cluster_has_not_met(tmp_path, see):
    path = make(tmp_path / "n1", members=(member(1, "n1", 12345), member(2, "n2")))
    bad(see, path, "of incarnation 3039: this is another one")


def alarmed(path, member_id, kind):
    state = StateStore.open(path / "state")
    state.apply(51, 2, [("alarm_raise", member_id, kind)])
    save(state)


@pytest.mark.parametrize(("kind", "name"), [(NOSPACE, "NOSPACE"), (CORRUPT, "CORRUPT")])
def test_alarms(path, see, kind, name):
    alarmed(path, 2, kind)
    raised = the(see(path), "warn")
    assert raised.facts == {"member": 2, "alarm": name}
    assert "sampanctl alarm disarm" in raised.do


def test_a_member_that_has_diverged(path, see):
    incarnation = data_dir.read_identity(path / "identity")["incarnation"]
    state = StateStore.open(path / "state")
    state.apply_check(51, 2, (40, 2, 30, 99, ((1, 98), (2, 99)), ((1, incarnation),)))
    save(state)
    bad(see, path, "the state of this member has diverged")


def test_a_mark_may_be_behind(path, see):
    mark = log_mark.read(path / "log-mark")
    log_mark.write(path / "log-mark", mark._replace(commit=3))
    assert {each.level for each in see(path)} == {"ok"}


def refusal(path):
    """Why a node would not start; empty when it would."""
    try:
        data_dir.read_identity(path / "identity")
        data_dir.starts(path)
        log = LogStore.open(path / "log")
        try:
            entries = list(log.entries(log.first_index, log.last_index + 1))
            disk = log.hard_state(), log.start, entries
        finally:
            log.close()
        snapshots = SnapshotStore(path / "snapshots")
        snapshots.recover()
        state = StateStore.open(path / "state")
        try:
            applied = state.applied_index, state.applied_term
        finally:
            state.close()
        recover(disk, (*applied, (), (), snapshots.installed()))
    except (OSError, DataDirError, StorageError, Impossible) as error:
        return str(error)
    return ""


def damage(file, rng):
    size = file.stat().st_size
    match rng.choice(["gone", "cut", "flipped", "zeros"]):
        case "gone":
            file.unlink()
        case "cut":
            os.truncate(file, rng.randrange(size or 1))
        case "flipped" if size:
            flip(file, rng.randrange(size))
        case _:
            file.write_bytes(bytes(size))


def test_what_a_start_refuses_is_bad(killed, tmp_path, capsys):
    """Whatever file was damaged, the doctor has a word for it."""
    rng = random.Random(5)
    refusals = 0
    files = sorted(file for file in killed.rglob("*") if file.is_file() and file.stat().st_size)
    for n in range(25):
        copy = shutil.copytree(killed, tmp_path / str(n) / "n1")
        file = copy / rng.choice(files).relative_to(killed)
        damage(file, rng)
        before = disk(copy)
        code = doctor.main([str(copy)])
        assert disk(copy) == before
        said = capsys.readouterr().out
        refused = refusal(copy)
        assert not refused or code == 1, f"{file.name}: {refused}\n{said}"
        refusals += bool(refused)
    assert refusals > 5


def test_no_room_for_the_copy(path, see, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert "No space left" in see(path, code=2)
