"""Starting, refusing to start, and stopping, as people and scripts see it."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import termios

import pyte
import pytest
import sampan
from sampan.hosts import processors
from sampan.storage.log_store import LogStore, _entry_key

from ..ports import free_port
from .cluster import COMMAND, WAIT_S, Command, config_values, wait_for


@pytest.fixture
def placement():
    """Overrides the suite's: what is refused before any actor starts is refused in both alike."""
    return "fused"


def run(*arguments, env=None):
    """Exit code and stderr of a command that is to end by itself."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=180, check=False,
        env=os.environ | (env or {}), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stderr


def refused(*arguments, env=None):
    """The one sentence with which a command refuses to start."""
    code, text = run(*arguments, env=env)
    assert code == 1, text
    assert text.count("\n") == 1, text
    assert text.startswith("sampan: "), text
    assert "Traceback" not in text
    return text


def write_config(path, values):
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


# -- which command


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["upp"], "unknown command 'upp'; did you mean `sampan up`?"),
        (["nodes"], "did you mean `sampan node`?"),
        (["status"], "unknown command 'status'; did you mean `sampanctl endpoint status`?"),
        (["put", "a", "b"], "did you mean `sampanctl put`?"),
        (["zzz"], "unknown command 'zzz'\n"),
        (["--node"], "unknown option '--node'\n"),
        (["up", "--nodez", "3"], "unrecognized arguments: --nodez 3"),
        (["up", "--node", "3"], "unrecognized arguments: --node 3"),
    ],
)
def test_what_is_unknown_is_named(words, hint):
    code, text = run(*words)
    assert code == 2
    assert hint in text
    assert "Traceback" not in text


@pytest.mark.parametrize("word", ["-V", "--version", "version"])
def test_its_version(word):
    done = subprocess.run([*COMMAND, word], capture_output=True, text=True, check=True, timeout=180)
    assert (done.stdout, done.stderr) == (f"sampan {sampan.__version__}\n", "")


# -- which cluster


def test_ports_and_number_of_nodes_exclude_a_file(tmp_path):
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused", nodes=1))
    assert "--config excludes" in refused("up", "--config", config, "--base-port", "5000")
    assert "--config excludes" in refused("up", "--config", config, "--nodes", "3")


def test_the_first_port_counts_without_a_number_of_nodes():
    assert "--base-port must be 1024 to 65523, got 1" in refused("up", "--base-port", "1")


# -- data directories and ports


def test_data_dir_and_port_in_use(make_cluster, tmp_path):
    cluster = make_cluster(nodes=1).start()
    config = str(cluster.directory / "cluster.json")
    assert "in use by another process" in refused("up", "--config", config)
    other = write_config(
        tmp_path / "other.json", cluster.config | {"data_dir": str(tmp_path / "d")}
    )
    text = refused("up", "--config", other)
    assert "cannot bind" in text
    assert cluster.endpoints[0] in text
    cluster.wait_writable()
    cluster.stop()


def test_data_dir_of_another_cluster_or_member(make_cluster, tmp_path):
    cluster = make_cluster(nodes=1).start()
    cluster.stop()
    foreign = write_config(tmp_path / "a.json", cluster.config | {"cluster": "another"})
    assert "cluster_id" in refused("up", "--config", foreign)
    members = [cluster.config["members"][0] | {"id": 9}]
    foreign = write_config(tmp_path / "b.json", cluster.config | {"members": members})
    assert "member_id" in refused("up", "--config", foreign)


def test_data_dir_of_a_newer_format_or_damaged(tmp_path):
    values = config_values(tmp_path, "fused", nodes=1)
    config = write_config(tmp_path / "c.json", values)
    member = tmp_path / "data" / "n1"
    member.mkdir(parents=True)
    identity = {"format": 99, "cluster_id": 1, "member_id": 1, "incarnation": 1}
    (member / "identity").write_text(json.dumps(identity))
    assert "newer" in refused("up", "--config", config)
    (member / "identity").write_text("{")
    assert "damaged" in refused("up", "--config", config)


def test_data_dir_that_cannot_be_used(tmp_path):
    values = config_values(tmp_path, "fused", nodes=1)
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file"), "/proc/none"):
        config = write_config(tmp_path / "c.json", values | {"data_dir": place})
        assert "cannot be" in refused("up", "--config", config)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "n1").symlink_to(tmp_path)
    config = write_config(tmp_path / "c.json", values)
    assert "symbolic link" in refused("up", "--config", config)


def test_port_taken_by_a_stranger(tmp_path):
    values = config_values(tmp_path, "fused", nodes=1)
    config = write_config(tmp_path / "c.json", values)
    for role in ("client", "peer"):
        host, port = values["members"][0][role].split(":")
        with socket.create_server((host, int(port))):
            text = refused("up", "--config", config)
        assert f"cannot bind {host}:{port}" in text
        assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json"], "nothing is left"
    command = Command(("up", "--config", config), tmp_path / "up.log")
    try:
        wait_for(lambda: (tmp_path / "data" / "n1" / "pids.json").exists(), "a start")
        command.signal(signal.SIGTERM)
        assert command.wait() == 0
    finally:
        command.destroy()


@pytest.mark.parametrize("other", ["localhost", "127.0.0.1"])
def test_the_same_address_twice(tmp_path, other):
    """Also where only resolving tells."""
    values = config_values(tmp_path, "fused", nodes=1)
    client = values["members"][0]["client"]
    peer = f"tcp://{other}:{client.split(':')[1]}"
    members = [values["members"][0] | {"peer": peer}]
    config = write_config(tmp_path / "c.json", values | {"members": members})
    text = refused("up", "--config", config)
    assert "the address in the configuration twice?" in text or "is taken" in text
    config = write_config(tmp_path / "d.json", values)
    text = refused("node", "--config", config, "--name", "n1", "--peer-listen", peer)
    assert "twice" in text or "must differ" in text


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_a_temporary_directory_with_too_long_a_name(tmp_path, placement):
    """In one process there is a gateway beside it, at least."""
    values = config_values(tmp_path, placement, nodes=1)
    members = [values["members"][0] | {"gateway": f"127.0.0.1:{free_port()}"}]
    config = write_config(tmp_path / "c.json", values | {"members": members})
    long = tmp_path / ("x" * 100)
    long.mkdir()
    text = refused("up", "--config", config, env={"TMPDIR": str(long)})
    assert "set TMPDIR shorter" in text


def test_a_temporary_directory_whose_name_is_no_text(tmp_path):
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "processes", nodes=1))
    with tempfile.TemporaryDirectory(prefix="\udcff") as other:
        assert "is not UTF-8" in refused("up", "--config", config, env={"TMPDIR": other})


def test_a_note_of_local_sockets_that_is_a_directory(tmp_path):
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused", nodes=1))
    (tmp_path / "data" / "n1").mkdir(parents=True)
    command = Command(("up", "--config", config), tmp_path / "up.log")
    pids = tmp_path / "data" / "n1" / "pids.json"
    try:
        wait_for(pids.exists, "a start")
        command.signal(signal.SIGTERM)
        assert command.wait() == 0
    finally:
        command.destroy()
    (tmp_path / "data" / "n1" / "runtime").mkdir()
    assert "Is a directory" in refused("up", "--config", config)


def test_a_log_that_cannot_be_opened(tmp_path):
    """It is a file where the table has the terminal."""
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused", nodes=1))
    (tmp_path / "data" / "sampan.log").mkdir(parents=True)
    ours, theirs = os.openpty()
    try:
        ran = subprocess.run(
            [*COMMAND, "up", "--config", config], stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=subprocess.PIPE, text=True, timeout=180, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.returncode == 1
    assert ran.stderr.startswith("sampan: the log ")
    assert ran.stderr.endswith("sampan.log cannot be opened: Is a directory\n")


def test_a_start_that_fails_leaves_nothing_behind(tmp_path):
    """No directory that it made, with a log or without; those that were there stay."""
    values = config_values(tmp_path, "fused", nodes=2) | {"data_dir": str(tmp_path / "a" / "b")}
    config = write_config(tmp_path / "c.json", values)
    ours, theirs = os.openpty()
    host, port = values["members"][1]["client"].split(":")
    with socket.create_server((host, int(port))):
        for output in (theirs, subprocess.DEVNULL):
            ran = subprocess.run(
                [*COMMAND, "up", "--config", config], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.PIPE, timeout=180, check=False,
                env=os.environ | {"TERM": "xterm"},
            )  # fmt: skip
            assert ran.returncode == 1
            assert b"cannot bind" in ran.stderr
            assert not (tmp_path / "a").exists()
        (tmp_path / "a").mkdir()
        assert "cannot bind" in refused("up", "--config", config)
    assert list((tmp_path / "a").iterdir()) == []
    os.close(ours)
    os.close(theirs)


# -- configurations


def changed(values, **changes):
    return {key: value for key, value in (values | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": None}, ["members is missing"]),
        ({"cluster": None}, ["cluster is missing"]),
        ({"colour": "red"}, ["unknown key 'colour'", "heartbeat_ms"]),
        ({"heartbeat_ms": "fast"}, ["heartbeat_ms must be int", "'fast'"]),
        ({"allow_insecure": 1}, ["allow_insecure must be bool"]),
        ({"election_ms": 100}, ["election_ms must be at least 5 heartbeats"]),
        ({"placement": "clouds"}, ["placement must be one of processes, fused"]),
        ({"log_entries_max": 3}, ["log_entries_max must be at least"]),
        ({"members": []}, ["members must be a list with at least one"]),
        ({"members": [{"id": 1}]}, ["member 1 must have name, client, peer"]),
    ],
)
def test_wrong_configuration_names_file_key_and_remedy(tmp_path, changes, words):
    values = changed(config_values(tmp_path, "fused"), **changes)
    path = write_config(tmp_path / "cluster.json", values)
    text = refused("up", "--config", path)
    for word in (path, *words):
        assert word in text
    assert not (tmp_path / "data").exists(), "nothing is made before the configuration is good"


@pytest.mark.parametrize("name", ["c.toml", "c.json"])
def test_a_file_that_is_none(tmp_path, name):
    (tmp_path / name).write_bytes(b"members = [\xff")
    text = refused("up", "--config", str(tmp_path / name))
    assert name.partition(".")[2].upper() in text
    assert "cannot be read" in refused("up", "--config", str(tmp_path / "absent.toml"))


def test_addresses_that_others_reach_need_allow_insecure(tmp_path):
    values = config_values(tmp_path, "fused", nodes=1)
    members = [values["members"][0] | {"client": f"0.0.0.0:{free_port()}"}]
    path = write_config(tmp_path / "c.json", values | {"members": members})
    assert "allow_insecure" in refused("up", "--config", path)


def test_unknown_member(tmp_path):
    path = write_config(tmp_path / "c.json", config_values(tmp_path, "fused"))
    assert "no member is named 'n9'; the configuration has n1, n2, n3" in refused(
        "node", "--config", path, "--name", "n9"
    )
    assert "which member is this" in refused("node", "--config", path)
    assert "--name must be UTF-8" in refused("node", "--config", path, "--name", "\udcff")


def test_environment_is_checked_too(tmp_path):
    path = write_config(tmp_path / "c.json", config_values(tmp_path, "fused"))
    text = refused("up", "--config", path, env={"SAMPAN_HEARTBEAT_MS": "soon"})
    assert "SAMPAN_HEARTBEAT_MS: expected a whole number" in text


# -- damage that no restart mends


def lose_an_entry(data):
    """From the middle of the log."""
    log = LogStore.open(data / "log")
    batch = log._db.batch()
    batch.delete(_entry_key((log.first_index + log.last_index) // 2))
    log._db.write(batch)
    log.sync()
    log.close()


def lose_the_state(data):
    shutil.rmtree(data / "state")


def loop(data):
    """A link that leads to itself in the log's place."""
    (data / "log").rename(data / "elsewhere")
    (data / "log").symlink_to("log")


def compact_and_stop(cluster):
    """Let the log begin after what the state holds."""
    name = cluster.names[0]
    with cluster.client() as client:
        wait_for(
            lambda: client.put(b"k", bytes(1000)) and cluster.compacted_past(name, 10),
            "the log to be compacted",
        )
    cluster.stop()


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_a_node_whose_disk_no_restart_mends_ends_with_a_sentence(make_cluster):
    cluster = make_cluster(nodes=1, separate=True, log_entries_max=64).start()
    compact_and_stop(cluster)
    data = cluster.data("n1")
    shutil.copytree(data, cluster.directory / "good")
    for damage, words in (
        (lose_an_entry, "is missing in"),
        (lose_the_state, "Was the state database replaced by an older copy? (no restart mends"),
        (loop, "log is not a directory and leads to none"),
    ):
        damage(data)
        said = len(cluster.log("n1"))
        cluster.launch_node("n1")
        command = cluster.command("n1")
        assert command.wait() == 1
        log = cluster.log("n1")[said:]
        assert words in log
        assert '"node stopped for good"' in log
        assert "Traceback" not in log
        assert "starts again" not in log
        command.destroy()
        shutil.rmtree(data)
        shutil.copytree(cluster.directory / "good", data)
    cluster.launch_node("n1")
    cluster.wait_writable()
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_a_node_whose_disk_fails_says_so_in_a_sentence_and_starts_when_it_is_mended(make_cluster):
    cluster = make_cluster(nodes=1, separate=True).start()
    cluster.stop()
    lock = cluster.data("n1") / "log" / "LOCK"
    lock.unlink()
    lock.mkdir()  # RocksDB finds an error of the disk here, as on a full one
    cluster.launch_node("n1")
    wait_for(lambda: cluster.log("n1").count('"disk failed"') >= 2, "two starts in vain")
    log = cluster.log("n1")
    assert f'"reason": "cannot open {lock.parent}: IO error: ' in log
    assert "Traceback" not in log
    lock.rmdir()
    cluster.wait_writable()
    cluster.stop()


def test_the_others_go_on_without_a_node_that_is_given_up(make_cluster):
    cluster = make_cluster().start()
    cluster.stop()
    loop(cluster.data("n3"))
    cluster.launch()
    cluster.wait_writable(["n1", "n2"])
    wait_for(lambda: '"node given up"' in cluster.log(), "n3 to be given up")
    assert cluster.log().count('"node stopped for good"') == 1
    assert "Traceback" not in cluster.log()
    cluster.stop()


# -- stopping


@pytest.mark.parametrize("placement", ["processes", "fused"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_stops_in_order(make_cluster, number):
    cluster = make_cluster().start()
    command = cluster.command()
    assert len(list(cluster.temporary.iterdir())) == 3, "one directory of local sockets a node"
    command.signal(number)
    assert command.wait() == 0
    wait_for(lambda: not command.left(), "all processes to end")
    assert not any((cluster.data(name) / "pids.json").exists() for name in cluster.names)
    assert list(cluster.temporary.iterdir()) == []


INTERRUPT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            with open(os.environ["INTERRUPTED"], "a") as file:
                file.write(name)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""
"""A sitecustomize that has its process interrupted when it imports a module."""


@pytest.fixture
def interrupt_at(tmp_path, monkeypatch):
    """Has commands interrupted when they import a module; returns the file that then exists."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(INTERRUPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("INTERRUPTED", str(tmp_path / "interrupted"))

    def at(module):
        monkeypatch.setenv("INTERRUPT_AT", module)
        return tmp_path / "interrupted"

    return at


def test_ctrl_c_before_anything_runs(tmp_path, interrupt_at):
    interrupted = interrupt_at("sampan.hosts.supervisor")
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused", nodes=1))
    assert run("up", "--config", config) == (130, "sampan: interrupted\n")
    assert interrupted.exists()


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_ctrl_c_while_processes_start_is_for_their_supervisor(make_cluster, interrupt_at):
    """A terminal sends it to all of them; those that import have no handler yet."""
    interrupted = interrupt_at("sampan.actors.applier")
    cluster = make_cluster(nodes=1).start()
    assert interrupted.exists()
    assert "Traceback" not in cluster.log()
    assert "actor died" not in cluster.log()
    cluster.stop()


# -- a terminal that goes, and logs that are moved


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_sighup_ends_nobody(make_cluster):
    cluster = make_cluster(nodes=1).start()
    before = cluster.pids("n1")
    for pid in before.values():
        os.kill(pid, signal.SIGHUP)
    wait_for(lambda: "got SIGHUP" in cluster.log(), "the supervisor to tell")
    cluster.wait_status("n1")
    cluster.wait_writable()
    assert cluster.pids("n1") == before
    assert "actor died" not in cluster.log()
    cluster.stop()


def test_up_on_a_terminal(tmp_path):
    """80 columns, all that a new user sees; its log is moved away meanwhile."""
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused"))
    log = tmp_path / "data" / "sampan.log"
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    up = subprocess.Popen(
        [*COMMAND, "up", "--config", config], stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=theirs, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)

    def shows(text):
        stream.feed(os.read(ours, 65536))
        return any(line.startswith(text) for line in screen.display)

    try:
        wait_for(lambda: shows("waiting for n1, n2, n3 to start"), "what is waited for")
        wait_for(lambda: shows("ready"), "a cluster that serves")
        for _ in range(4):
            shows("node")
        assert [line[:4] for line in screen.display].count("node") == 1, screen.display
        assert screen.display[0].startswith("node "), screen.display
        log.rename(log.with_name("moved.log"))
        up.send_signal(signal.SIGHUP)
        wait_for(lambda: log.exists() and "got SIGHUP" in log.read_text(), "a new log")
        up.send_signal(signal.SIGINT)
        os.close(ours)  # nobody reads the rest
        assert up.wait(WAIT_S) == 0
    finally:
        up.kill()
        up.wait()
    told = [json.loads(line) for line in log.with_name("moved.log").read_text().splitlines()]
    ready = [line for line in told if line["event"] == "ready to serve clients"]
    assert sorted(line["node"] for line in ready) == ["n1", "n2", "n3"]


def test_a_node_says_when_it_serves_and_where(make_cluster):
    cluster = make_cluster(nodes=3, separate=True)
    cluster.directory.mkdir(parents=True)
    (cluster.directory / "cluster.json").write_text(json.dumps(cluster.config))

    def events(name, event):
        lines = [line for line in cluster.log(name).splitlines() if line.startswith("{")]
        return [told for told in map(json.loads, lines) if told["event"] == event]

    cluster.launch_node("n1")
    wait_for(
        lambda: any("2 of 3 members" in told["reason"] for told in events("n1", "waiting")),
        "the first to say what it waits for",
    )
    assert events("n1", "ready to serve clients") == []
    cluster.launch_node("n2")
    (ready,) = wait_for(lambda: events("n1", "ready to serve clients"), "it to serve")
    member = cluster.config["members"][0]
    assert (ready["client"], ready["peer"]) == (member["client"], member["peer"])
    assert ready["data_dir"] == str(cluster.data("n1"))
    (started,) = events("n1", "started")
    assert started["version"] == sampan.__version__
    assert started["config"] == str(cluster.directory / "cluster.json")
    cluster.stop()


# -- output


@pytest.mark.parametrize("closed", [False, True])
def test_up_runs_on_without_anybody_to_show_its_state_to(tmp_path, closed):
    """`sampan up | head -1`, and `sampan up >&-`."""
    config = write_config(tmp_path / "c.json", config_values(tmp_path, "fused", nodes=1))
    pids = tmp_path / "data" / "n1" / "pids.json"
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {">&-" * closed}', "sh", *COMMAND, "up", "--config", config],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    up.stdout.close()
    try:
        wait_for(pids.exists, "a start")
        if not closed:
            wait_for(lambda: "cannot show" in (tmp_path / "up.log").read_text(), "the first line")
        up.send_signal(signal.SIGTERM)
        assert up.wait(WAIT_S) == 0
        assert "Traceback" not in (tmp_path / "up.log").read_text()
    finally:
        up.kill()
        up.wait()


# -- open files


def open_files(pid):
    with open(f"/proc/{pid}/limits", encoding="utf-8") as limits:
        (line,) = (line for line in limits if line.startswith("Max open files"))
    return line.split()[3:5]


@pytest.mark.skipif(not os.path.exists("/proc/self/limits"), reason="needs /proc")
@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_a_node_may_have_as_many_open_files_as_the_system_allows(make_cluster):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cluster = make_cluster(nodes=1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1000), hard))
    try:
        cluster.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = [open_files(pid) for pid in cluster.pids("n1").values()]
    assert all(soft == hard for soft, hard in found), found
    cluster.stop()


# -- few processors


@pytest.mark.skipif(len(processors.available()) < 2, reason="there must be a choice")
@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_what_a_message_passes_stays_on_a_nodes_processor(make_cluster, placement):
    """Also after the node has started again. In a fused node nothing passes processes."""
    mine = os.sched_getaffinity(0)
    two = set(processors.available()[:2])
    cluster = make_cluster()
    os.sched_setaffinity(0, two)
    try:
        cluster.start()
    finally:
        os.sched_setaffinity(0, mine)

    def places(name):
        pids = cluster.pids(name)
        return {actor: os.sched_getaffinity(pids[actor]) for actor in cluster.actors}

    before = {name: places(name) for name in cluster.names}
    if placement == "fused":
        assert list(before.values()) == [{"fused": two}] * 3
        return
    chosen = {}
    for name, found in before.items():
        assert found.pop("applier") == two
        log = found.pop("wal_writer")
        (chosen[name],) = set(map(frozenset, found.values()))
        assert len(log) == len(chosen[name]) == 1
        assert (log == chosen[name]) is (name != "n1"), "who is to lead writes its log elsewhere"
    assert chosen["n1"] == chosen["n2"] != chosen["n3"]
    cluster.kill_actor("n3", "transport")
    assert places("n3")["transport"] == chosen["n3"]


# -- one node at a time


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_bound_and_advertised_addresses_apart(make_cluster):
    """Clients come through another address than the one that the node binds."""
    cluster = make_cluster(separate=True)
    bound = {}
    cluster.directory.mkdir(parents=True)
    (cluster.directory / "cluster.json").write_text(json.dumps(cluster.config))
    for number, name in enumerate(cluster.names):
        bound[name] = f"127.0.0.{number + 2}:{free_port('127.0.0.2')}"
        cluster.launch_node(name, "--client-listen", bound[name])
    advertised = cluster.endpoints
    cluster.endpoints = list(bound.values())
    cluster.wait_leader()
    cluster.wait_writable()
    with cluster.client() as client:
        wait_for(
            lambda: (
                [m.client_urls for m in client.member_list().members]
                == [[address] for address in advertised]
            ),
            "all members to announce what they advertise",
        )
    cluster.stop()


@pytest.mark.parametrize("placement", ["processes", "fused"])
def test_a_member_with_an_emptied_data_dir_is_refused_for_good(make_cluster):
    """It has forgotten its vote and its log: it must not take part under its old id."""
    cluster = make_cluster(separate=True).start()
    cluster.wait_writable()
    victim = cluster.followers()[0]
    others = [name for name in cluster.names if name != victim]
    with cluster.client(*others) as client:
        wait_for(lambda: all(m.client_urls for m in client.member_list().members), "announcements")
    cluster.kill_node(victim)
    shutil.rmtree(cluster.data(victim))
    cluster.launch_node(victim)
    command = cluster.command(victim)
    assert command.wait() == 1
    assert "already been bootstrapped" in cluster.log(victim)
    # Nor does it help the other two to a quorum when one of them is gone.
    cluster.kill_node(others[0])
    cluster.launch_node(victim)
    assert cluster.command(victim).wait() == 1
    status = cluster.wait_status(others[1], lambda s: not s["leader"], "no leader without quorum")
    assert status["role"] != "leader"
    cluster.launch_node(others[0])
    cluster.wait_writable(others)
    cluster.kill_everything()
