"""`sampanctl watch` prints what `etcdctl watch` prints, and ends as it does.

A watch has no end of its own: each runs until what it is to print at last has come.
"""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import ETCDCTL, SAMPANCTL
from .test_like_etcdctl import IDENTITY, Ran, etcdctl, parse, sampanctl

DATA = """
put a 1
put a 2
put a/1 x
del a/1
put a/1 y
put b \u00e9"quoted"
put a last
put a/2 the-end
"""
LAST, END = b"\nlast\n", b"\nthe-end\n"
RAN = b'"last"\n'
JSON_END = b'"Created":false}\n'
WAIT_S = 180

WATCHED = [
    ("watch a --rev 2 --hex", b"".join(b"\\x%02x" % each for each in b"last") + b"\n"),
    ("watch a --rev 2 --prev-kv", LAST),
    ("watch a --rev 4 --prefix --prev-kv --progress-notify", END),
    ("watch a a/2 --rev 2", LAST),
    ("watch --prefix --rev 2 --prev-kv a -w json", JSON_END),
    ("watch a b --rev 2 -w fields --prev-kv", b'"the-end"\n"Lease" : 0\n'),
    ("watch b --rev 2 -w fields", b'quoted\\""\n"Lease" : 0\n'),
    ("watch --prefix --rev=2 --prev-kv a -w protobuf", END.strip()),
    ("ETCDCTL_WATCH_KEY=a ETCDCTL_WATCH_RANGE_END=b watch --rev 2", END),
    ("watch a --rev 2 -- sh -c 'echo ran $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_VALUE'", RAN),
    ("ETCDCTL_WATCH_KEY=a watch --rev 2 -- sh -c 'echo $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'", RAN),
]

ENDED = [
    "watch a --rev 2 -- false",
    "watch a --rev 2 -- sh -c 'test $ETCD_WATCH_REVISION = 0 || exit 7'",
    "watch a --rev 2 -- no-such-program",
    "watch",
    "watch --prefix",
    "watch a --",
    "watch a b --prefix",
    "watch a --rev x",
    "watch a --sort-by KEY",
    "watch a --rev 2 -w xml",
    "ETCDCTL_WATCH_KEY=a watch a",
    "ETCDCTL_WATCH_KEY=a watch a -- echo",
    "ETCDCTL_WATCH_RANGE_END=b watch a",
    "bogus x⏎⏎watch⏎watch a b --prefix | watch -i",
    "watch a --zzz | watch -i",
    "watch a -- | watch -i",
]
COMPACTED = [f"watch a --rev 2 --prefix -w {form}" for form in ("simple", "fields", "json")]
COMPACTED += ["watch a --rev 2 -w protobuf"]


@pytest.fixture(scope="module")
def both(etcd, sampan):
    """(etcdctl with its endpoint, sampanctl with its endpoint), on the same data."""
    commands = [ETCDCTL, "--endpoints", etcd], [SAMPANCTL, "--endpoints", sampan]
    with ThreadPoolExecutor(2) as pool:
        for line in DATA.strip().splitlines():
            list(pool.map(run_to_end, commands, [line.split()] * 2))
    return commands


def run_to_end(command, words):
    subprocess.run([*command, *words], check=True, capture_output=True, timeout=WAIT_S)


def normal(stdout, line):
    if "protobuf" in line.args and stdout[:1] == b"\n":
        stdout = stdout[2 + stdout[1] :]
    for pattern, replacement in IDENTITY:
        stdout = re.sub(pattern, replacement, stdout)
    return stdout


def until(command, line, last, typed=()):
    """What it prints up to the line with `last`; `typed` is written when what stands before it in
    the pair was printed."""
    with subprocess.Popen(
        [*command, *line.args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        stderr=subprocess.DEVNULL, env=os.environ | line.environ,
    ) as process:  # fmt: skip
        try:
            stdout = b""
            waiting = list(typed)
            while last not in stdout or waiting:
                while waiting and waiting[0][0] in stdout:
                    process.stdin.write(waiting.pop(0)[1])
                some = process.stdout.read(4096)
                assert some, f"it ended after {stdout}"
                stdout += some
        finally:
            process.kill()
    return normal(stdout, line)


@pytest.mark.parametrize(("text", "last"), WATCHED, ids=lambda value: str(value))
def test_what_a_watch_prints(both, text, last):
    line = parse(text)
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda command: until(command, line, last), both)
    assert ours == theirs
    assert last in theirs


def test_lines_of_standard_input(both):
    line = parse("watch -i")
    typed = [
        (b"", b"watch a --rev 2\n"),
        (LAST, b"watch a/1 b --prev-kv --rev 2\n"),
        (END, b"progress\n"),
    ]
    last = b"progress notify: 9\nprogress notify: 9\n"
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda command: until(command, line, last, typed), both)
    assert ours == theirs


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("watch -i", b"watch a --rev 2 -- false\n"),
        ("watch -i", b"watch a --rev 2 -- no-such-program\n"),
        ("watch -i -w table", b"watch a --rev 2\n"),
        ("watch -i", b"watch a --help\n"),
        ("watch -i", b"watch a\n"),
    ],
)
def test_how_lines_of_standard_input_end(both, text, lines):
    """Those that fail end the command while it waits for more; the last one, at their end."""
    theirs, ours = (end_of(command, parse(text), lines) for command in both)
    assert ours == theirs


def end_of(command, line, lines):
    """(what it said of errors, exit code)."""
    with subprocess.Popen(
        [*command, *line.args], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=os.environ | line.environ,
    ) as process:  # fmt: skip
        process.stdin.write(lines)
        process.stdin.flush()
        if lines == b"watch a\n":
            process.stdin.close()
        code = process.wait(WAIT_S)
        said = process.stderr.read()
    said = [each for each in said.splitlines() if not each.startswith((b"{", b"No help topic"))]
    return said, code


def ends(both, text, monkeypatch):
    """(etcdctl's end, sampanctl's end) of a command line."""
    etcd, sampan = (command[-1] for command in both)
    line = parse(text)
    with ThreadPoolExecutor(1) as beside:
        theirs = beside.submit(etcdctl, etcd, line)
        with monkeypatch.context() as patch:
            ours = normal_end(sampanctl(sampan, line, patch), line)
        return normal_end(theirs.result(), line), ours


def normal_end(ran, line):
    stdout = b"a help text" if ran.stdout.startswith(b"NAME:\n") else normal(ran.stdout, line)
    return Ran(stdout, ran.stderr.replace(b"sampanctl", b"etcdctl"), ran.exit_code)


@pytest.mark.parametrize("text", ENDED)
def test_how_a_watch_ends(both, text, monkeypatch):
    theirs, ours = ends(both, text, monkeypatch)
    assert ours == theirs


def test_a_watch_of_what_was_compacted(both, monkeypatch):
    for command in both:
        subprocess.run([*command, "put", "c", "1"], check=True, capture_output=True)
        subprocess.run([*command, "compaction", "5"], check=True, capture_output=True)
    for text in COMPACTED:
        theirs, ours = ends(both, text, monkeypatch)
        assert ours == theirs, text
