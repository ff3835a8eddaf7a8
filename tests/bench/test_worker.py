"""Whole loads, with real worker processes, against a stand-in for a node."""

import json
import signal
import subprocess
import sys

import pytest
from sampan.bench import main as bench
from sampan.bench.errors import BenchError
from sampan.bench.load import run_load
from sampan.bench.spec import LoadSpec


def small(node, kind, **changes):
    settings = {"clients": 8, "connections": 2, "total": 200, "warmup": 20, "keys": 50}
    return LoadSpec(kind=kind, endpoints=(node.endpoint,), **{**settings, **changes})


def test_puts_are_exactly_the_work_asked_for(node):
    done = []
    result = run_load(small(node, "put", total=5000, key_size=9, value_size=33), done.append)
    assert result.succeeded == 5000
    assert result.errors == {}
    assert set(result.latencies) == {"put"}
    assert result.seconds > 0
    assert node.served == {"write": 5020, "read": 2, "serializable": 0}  # a read a connection
    assert {len(key) for key in node.store} == {9}
    assert {len(value) for value in node.store.values()} == {33}
    assert len(set(node.store.values())) > 1
    assert done == sorted(done)


def test_new_keys_are_each_written_once(node):
    result = run_load(small(node, "fill", total=500, warmup=0, processes=2, clients=10))
    assert result.succeeded == 500
    assert sorted(node.store) == [b"%016d" % n for n in range(500)]


def test_reads_find_every_key_in_two_processes(node):
    result = run_load(small(node, "range", processes=2, connections=4))
    assert result.succeeded == 200
    assert result.errors == {}
    assert len(node.store) == 50
    assert node.served["write"] == 50
    assert node.served["read"] == 200 + 20 + 4


@pytest.mark.parametrize("kind", ["put", "range"])
@pytest.mark.parametrize("serializable", [False, True])
def test_one_client_alone_is_the_blocking_one(node, kind, serializable):
    spec = small(node, kind, clients=1, connections=1, serializable=serializable)
    result = run_load(spec)
    assert result.succeeded == 200
    assert result.errors == {}
    assert result.event_loop == "the blocking client"
    assert node.served["write"] == (220 if kind == "put" else 50)


def test_mixed_is_told_apart(node):
    result = run_load(small(node, "mixed", read_percent=80, serializable=True, total=500))
    puts, ranges = result.latencies["put"].count, result.latencies["range"].count
    assert puts + ranges == 500
    assert ranges > puts > 0
    assert node.served["serializable"] > 0


def test_local_reads_begin_when_the_node_has_caught_up(node):
    node.stale_reads = 5
    result = run_load(small(node, "range", serializable=True))
    assert result.succeeded == 200
    assert node.stale_reads == 0


def test_the_same_seed_writes_the_same_keys(node):
    run_load(small(node, "put", keys=10_000, total=8, warmup=0))
    first = set(node.store)
    node.store.clear()
    run_load(small(node, "put", keys=10_000, total=8, warmup=0))
    assert set(node.store) == first
    node.store.clear()
    run_load(small(node, "put", keys=10_000, total=8, warmup=0, seed=2))
    assert set(node.store) != first


def test_an_open_loop_keeps_its_rate(node):
    result = run_load(small(node, "put", rate=2000, total=400))
    assert result.succeeded == 400
    assert result.seconds >= 399 / 2000
    assert "select" in result.event_loop


def test_the_pipelined_driver(node):
    result = run_load(small(node, "put", clients=100, total=1050, message_puts=20))
    assert result.succeeded == 1050
    assert node.served["write"] == 1050 + 20


def test_a_cluster_that_refuses_is_reported(refusing_node):
    with pytest.raises(BenchError, match=r"errors while warming up: .*NoSpaceError.*20"):
        run_load(small(refusing_node, "put"))
    with pytest.raises(BenchError, match="database space exceeded"):
        run_load(small(refusing_node, "put", message_puts=10))
    with pytest.raises(BenchError, match=r"errors while filling in the keys: .*NoSpaceError"):
        run_load(small(refusing_node, "range", clients=1, connections=1))


def test_errors_are_counted_by_type(refusing_node, capsys):
    result = run_load(small(refusing_node, "put", warmup=0))
    assert result.errors == {"NoSpaceError": 200}
    assert (result.succeeded, result.per_second) == (0, 0)
    arguments = ["put", "--endpoints", refusing_node.endpoint, "--clients", "8"]
    assert bench.main([*arguments, "--total", "100", "--warmup", "0"]) == 1
    assert "100 × NoSpaceError" in capsys.readouterr().out


def test_the_command_prints_and_writes(node, capsys, tmp_path):
    file = tmp_path / "load.json"
    arguments = ["put", "--endpoints", node.endpoint, "--clients", "4", "--total", "100"]
    assert bench.main([*arguments, "--json", str(file)]) == 0
    printed = capsys.readouterr()
    for text in ("requests/s", "100 puts", "p99.9", "0 errors"):
        assert text in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal
    written = json.loads(file.read_text())
    assert written["succeeded"] == 100
    assert written["spec"]["clients"] == 4
    assert sum(count for _, count in written["histogram_ms"]["put"]) == 100
    summary = written["latency_ms"]["put"]
    assert summary["p50"] <= summary["p99"] <= summary["p99.9"] <= summary["max"]


def test_a_worker_ends_with_its_parent(node):
    spec = json.dumps(small(node, "put", total=10**9).to_json())
    worker = subprocess.Popen(
        [sys.executable, "-m", "sampan.bench.worker", "0", spec],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with worker:
        worker.stdin.write(b"fill\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline()) == {"event": "done", "result": None}
        worker.stdin.write(b"measure\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())["event"] == "progress"
        worker.stdin.close()
        assert worker.wait(30) == 0


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_worker_behind(node, number, background):
    """Also where a shell runs it in the background, and has it ignore SIGINT."""
    code = "import sys; from sampan.bench.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["put", "--endpoints", node.endpoint, "--clients", "4", "--total", "1000000000"]
    command = [sys.executable, "-c", code, *arguments, "--warmup", "0"]
    ignored = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if background else None
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=ignored) as bench_process:
        assert node.written.wait(30)
        bench_process.send_signal(number)
        # The workers inherited stderr: its end shows that they are gone, too.
        _, errors = bench_process.communicate(timeout=30)
        assert errors == b"sampan bench: interrupted\n"
        assert bench_process.returncode == 130
