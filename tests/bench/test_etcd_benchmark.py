"""What etcd's own benchmark prints, and what is made of it."""

import stat

import pytest
from sampan.bench.errors import BenchError
from sampan.bench.etcd_benchmark import Puts, parse_output, run_puts

PRINTED = """
Summary:
  Total:	0.620022379 secs.
  Requests/sec:	8064.225049528413

Latency distribution:
  10% in 0.004902371 secs.
  50% in 0.008608986 secs.
  99% in 0.060636972 secs.
  99.9% in 6.4237721e-02 secs.
"""


def test_the_rate_and_the_latencies_are_read():
    found = parse_output(PRINTED)
    assert found == pytest.approx(
        {"rate": 8064.225, "p50": 8.608986, "p99": 60.636972, "p99.9": 64.237721}
    )


def test_failed_requests_are_no_measurement():
    with pytest.raises(BenchError, match="3"):
        parse_output(PRINTED + "\nError distribution:\n  [3]\tetcdserver: request timed out\n")


@pytest.mark.parametrize("printed", ["", PRINTED.replace("99%", "98%"), "Requests/sec: x"])
def test_another_output_is_said_to_be_unknown(printed):
    with pytest.raises(BenchError, match="not understood"):
        parse_output(printed)


def test_keys_are_written_as_asked_for(tmp_path):
    program = tmp_path / "benchmark"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/flags\ncat <<'END'\n{PRINTED}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    run_puts(program, "http://127.0.0.1:1", Puts(500, 100, 9_000, 9_000, 16, 256, in_turn=True))
    flags = (tmp_path / "flags").read_text().split()
    assert flags[0] == "put"
    assert "--sequential-keys" in flags
    for name, value in (("--total", "9000"), ("--clients", "500"), ("--key-space-size", "9000")):
        assert flags[flags.index(name) + 1] == value
