"""A node's processes: started, started again, and not taken for everybody's when they cannot be."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from sampan.config.local import cluster as members
from sampan.config.model import ConfigError, build
from sampan.hosts import process, supervisor
from sampan.hosts.processors import Share

from ..ports import free_port


class Child:
    """A process that runs until the test says otherwise."""

    made = 0

    def __init__(self, **_options):
        self.exitcode = None
        self.sentinel = self.pid = 0

    def start(self):
        Child.made += 1
        self.pid = Child.made

    def kill(self):
        self.exitcode = self.exitcode or -9

    def join(self, _timeout_s=None):
        assert self.exitcode is not None

    def close(self):
        pass


@pytest.fixture
def node(tmp_path, monkeypatch, log):
    monkeypatch.setattr(supervisor, "_spawn", SimpleNamespace(Process=Child))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    config = build(members(1, 2379) | {"data_dir": str(tmp_path / "data")}, "here")
    made = supervisor.NodeSupervisor(config, config.members[0], Share(), "", log)
    yield made
    made.close()


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data" / "n1"


def fail(*_arguments, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die(node, code=1):
    """One of the node's processes ends, and its supervisor sees it."""
    node._children["applier"].exitcode = code
    node.check()


def end_pause(node):
    node.restart_at = 0.0
    node.check()


def test_a_node_that_cannot_start_again_for_now_waits_as_a_dead_actor_does(
    node, log, monkeypatch, tmp_path
):
    """Whether its own disk is full or that of the local sockets, or a process cannot be made."""
    node.start()
    die(node)
    for place, name in ((tempfile, "mkdtemp"), (type(tmp_path), "write_bytes"), (Child, "start")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            end_pause(node)
        assert node.restart_at is not None
        assert not node.sentinels
        assert log.events[-1][0] == "cannot start; the node tries again"
        assert "No space left" in log.events[-1][1]["reason"]
        assert list((tmp_path / "tmp").iterdir()) == []
    end_pause(node)
    assert len(node.sentinels) == 6  # five actors and the gateway
    assert node.restart_at is None


def test_a_node_that_dies_again_and_again_waits_longer_up_to_a_bound(node):
    pauses = []
    for _ in range(9):
        node.start()
        die(node)
        pauses.append(node._pause_s)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    node.start()
    node._started_at -= supervisor.HEALTHY_AFTER_S + 1
    die(node)
    assert node._pause_s == 0.0, "it lived long enough to be tried at once"


def test_one_address_twice_is_found_before_anything_starts(node, monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setattr(type(node._config), "bound", lambda *_: [address])
    with ExitStack() as probes:
        node.check_addresses(probes)
        with pytest.raises(ConfigError, match="another node"):
            node.check_addresses(probes)


def test_a_node_that_must_not_start_again_does_not(node):
    node.start()
    die(node, process.EXIT_FATAL)
    assert node.failed
    assert node.restart_at is None


def test_a_first_start_that_fails_is_a_sentence(node, data):
    (data / "runtime").mkdir()
    with pytest.raises(ConfigError, match=r"n1: cannot start in .*Is a directory.*/runtime"):
        node.start_first()
    assert not node.sentinels


@pytest.mark.parametrize("note", [b"\xff/sampan-x\0", b"\0" * 100, b"", b"/etc\xff"])
def test_a_damaged_note_of_local_sockets_is_written_again(node, data, note):
    (data / "runtime").write_bytes(note)
    node.start()
    assert os.path.isdir((data / "runtime").read_text())


def test_the_local_sockets_of_one_that_was_killed_go(node, data, tmp_path):
    left = tmp_path / "tmp" / "sampan-\udcff"
    left.mkdir()
    (data / "runtime").write_bytes(os.fsencode(left))
    node.start()
    assert not left.exists()


def test_snapshots_of_the_life_before_go_while_nobody_makes_any(node, data, monkeypatch):
    left = data / "snapshots" / f"snap-{1:016x}-{7:016x}.making"
    found = []
    monkeypatch.setattr(Child, "start", lambda self: found.append(left.exists()))
    node.start()
    left.mkdir()
    die(node)
    end_pause(node)
    assert found
    assert not any(found)
    assert not left.exists()


def test_the_list_of_processes_is_a_help_and_no_condition(node, data, log, monkeypatch):
    node.start()
    assert set(json.loads((data / "pids.json").read_text())) > {"supervisor", "applier"}
    die(node)
    with monkeypatch.context() as patch:
        patch.setattr(type(data), "replace", fail)
        end_pause(node)
    assert len(node.sentinels) == 6  # five actors and the gateway
    assert not (data / "pids.json").exists(), "it would name those before"
    assert not (data / "pids.tmp").exists()
    (data / "pids.json").mkdir()
    die(node)
    end_pause(node)
    assert len(node.sentinels) == 6  # five actors and the gateway
    assert [event for event, _ in log.events].count("cannot write") == 2


def test_whoever_is_started_with_interrupts_blocked_has_them_blocked():
    """And who starts it gets them afterwards, also when multiprocessing's helper was not there."""
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with supervisor._interrupts_blocked():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_directory_for_sockets_whose_name_is_no_text(node, data, tmp_path, monkeypatch):
    other = tmp_path / "\udcff"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    node.start()
    assert os.path.isdir((data / "runtime").read_bytes())


def test_a_machine_without_such_sockets_is_a_sentence(node, monkeypatch):
    def none(*_arguments):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", none)
    with (
        ExitStack() as probes,
        pytest.raises(ConfigError, match=r"n1: cannot bind .* not supported"),
    ):
        node.check_addresses(probes)


def test_processes_that_end_with_their_supervisors_signal_have_not_died(
    tmp_path, monkeypatch, log, own_signals
):
    """A process group gets it together."""

    def all_end(_self, _next_tick):
        for child in made.nodes[0]._children.values():
            child.exitcode = 0
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(supervisor, "_spawn", SimpleNamespace(Process=Child))
    monkeypatch.setattr(supervisor.NodeSupervisor, "check_addresses", lambda *_: None)
    monkeypatch.setattr(supervisor.Supervisor, "_wait", all_end)
    monkeypatch.setattr(supervisor, "_raise_open_files", lambda _log: None)
    config = build(members(1, 2379) | {"data_dir": str(tmp_path / "data")}, "here")
    made = supervisor.Supervisor(config, list(config.members), "", log)
    with made._signals_in, made._signals_out:
        assert made.run(lambda: None, 60.0) == 0
    assert "actor died; the node starts again" not in [event for event, _ in log.events]


def test_traces_that_cannot_be_exported_leave_nothing_behind(tmp_path, log, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    monkeypatch.setattr(supervisor.NodeSupervisor, "check_addresses", lambda *_: None)
    values = members(1, 2379) | {"data_dir": str(tmp_path / "data"), "trace_sample": 1.0}
    config = build(values, "here")
    with pytest.raises(ConfigError, match=r"sampan\[otel\]"):
        supervisor.Supervisor(config, list(config.members), "", log)
    assert not (tmp_path / "data").exists()
