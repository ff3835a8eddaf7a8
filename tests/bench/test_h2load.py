"""What h2load prints: recorded from nghttp2 1.52.0 on a run against etcd 3.5.1."""

import pytest
from sampan.bench import h2load
from sampan.bench.errors import BenchError
from sampan.bench.histogram import Histogram

GOOD = """\
starting benchmark...
spawning thread #0: 2 total client(s). 200 total requests
Application protocol: h2c
progress: 50% done
progress: 100% done

finished in 121.86ms, 1641.28 req/s, 117.98KB/s
requests: 200 total, 200 started, 200 done, 200 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 14.38KB (14722) total, 424B (424) headers (space savings 94.42%), 6.32KB (6474) data
                     min         max         mean         sd        +/- sd
time for request:     1.61ms     25.50ms      5.73ms      4.49ms    92.00%
time for connect:      186us       507us       346us       227us   100.00%
time to 1st byte:     4.94ms      5.14ms      5.04ms       139us   100.00%
req/s           :     823.05      825.09      824.07        1.44   100.00%
"""
REFUSED = """\
finished in 528us, 0.00 req/s, 0B/s
requests: 4 total, 0 started, 0 done, 0 succeeded, 4 failed, 4 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 0B (0) total, 0B (0) headers (space savings 0.00%), 0B (0) data
"""


def test_a_good_run():
    run = h2load.parse_output(GOOD, Histogram())
    assert (run.done, run.failed, run.per_second, run.data_bytes) == (200, 0, 1641.28, 6474)
    assert run.seconds == pytest.approx(0.12186)


def test_a_run_that_nobody_answered():
    run = h2load.parse_output(REFUSED, Histogram())
    assert (run.done, run.failed, run.per_second) == (0, 4, 0)


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        (("200 succeeded, 0 failed", "180 succeeded, 20 failed"), 20),
        (("200 2xx, 0 3xx, 0 4xx", "150 2xx, 0 3xx, 50 4xx"), 50),
    ],
)
def test_failures_count(said, failed):
    assert h2load.parse_output(GOOD.replace(*said), Histogram()).failed == failed


@pytest.mark.parametrize(
    ("unit", "seconds"), [("528us", 0.000528), ("4.41s", 4.41), ("1.50m", 90.0)]
)
def test_units_of_time(unit, seconds):
    run = h2load.parse_output(GOOD.replace("121.86ms", unit), Histogram())
    assert run.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("line", ["finished in", "requests: ", "status codes", "traffic: "])
def test_a_missing_line_is_an_error(line):
    text = "\n".join(each for each in GOOD.splitlines() if not each.startswith(line))
    with pytest.raises(BenchError, match="not understood"):
        h2load.parse_output(text, Histogram())


def test_the_log_has_every_latency():
    log = "1795191956971864\t200\t4545\n1795191956971860\t200\t25500\n1795191956971861\t-1\t9\n"
    histogram = h2load.parse_log(log)
    assert histogram.count == 2
    assert histogram.max_ns == 25_500_000
    assert histogram.percentile(50) == pytest.approx(4_545_000, rel=0.01)


@pytest.mark.parametrize("line", ["oops", "1\t200", "1\t200\tfast"])
def test_an_unknown_log_line_is_an_error(line):
    with pytest.raises(BenchError, match="log file"):
        h2load.parse_log(line)
