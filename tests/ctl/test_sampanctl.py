"""What sampanctl does that etcdctl does not, and the installed command itself."""

import io
import os
import signal
import subprocess

import pytest
from sampan import __version__
from sampan.client import Client, lease_calls
from sampan.ctl import gofmt
from sampan.ctl import main as ctl

from .conftest import BIN, SAMPANCTL


def run(*args: str, stdin: bytes = b"") -> tuple[int, str, str]:
    out, err = io.BytesIO(), io.BytesIO()
    exit_code = ctl.run(args, io.BytesIO(stdin), out, err)
    return exit_code, out.getvalue().decode(), err.getvalue().decode()


def test_the_installed_command(sampan):
    base = [SAMPANCTL, "--endpoints", sampan]
    ran = subprocess.run([*base, "put", "k"], input=b"\xff\x00v\n", capture_output=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"OK\n", b"")
    ran = subprocess.run([*base, "get", "k"], capture_output=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"k\n\xff\x00v\n\n", b"")
    ran = subprocess.run([*base, "put", b"\xfe", b"\xff"], capture_output=True)
    assert (ran.returncode, ran.stdout) == (0, b"OK\n")
    ran = subprocess.run([*base, "get", b"\xfe", "-w", "fields"], capture_output=True)
    assert b'"Key" : "\\xfe"\n' in ran.stdout
    ran = subprocess.run([*base, "get"], capture_output=True)
    assert (ran.returncode, ran.stdout) == (128, b"")


def test_its_own_environment_wins(sampan, monkeypatch):
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "127.0.0.1:1")
    monkeypatch.setenv("SAMPANCTL_ENDPOINTS", sampan)
    monkeypatch.setenv("SAMPANCTL_WRITE_OUT", "xml")
    assert run("get", "nothing", "-w", "simple") == (0, "", "")


def test_version_says_its_own_name():
    assert run("version") == (0, f"sampanctl version: {__version__}\nAPI version: 3.5\n", "")


def test_help_tells_every_command_and_flag():
    for command in (["get"], ["put"], ["del"], ["endpoint", "status"], ["member", "list"]):
        exit_code, text, _ = run(*command, "--help")
        assert exit_code == 0
        assert f"sampanctl {' '.join(command)}" in text
        assert '-w, --write-out="simple"' in text
    assert "endpoint health" in run("--help")[1]


@pytest.mark.parametrize(
    "args",
    [
        ["--cacert=ca.pem"],
        ["--cert=a"],
        ["--key=a"],
        ["--insecure-transport=false"],
    ],
)
def test_flags_that_would_protect_the_connection_are_refused(sampan, args):
    exit_code, out, err = run("--endpoints", sampan, *args, "get", "a")
    assert (exit_code, out) == (128, "")
    assert "not supported" in err


def test_a_user_does_not_matter_while_nobody_is_asked(sampan):
    exit_code, _, err = run("--endpoints", sampan, "--user=a:b", "get", "a")
    assert (exit_code, err) == (0, "")


@pytest.mark.parametrize("endpoint", ["foo", "https://127.0.0.1:1", "127.0.0.1:x"])
def test_an_endpoint_that_is_none(endpoint):
    exit_code, _, err = run("--endpoints", endpoint, "get", "a")
    assert exit_code == 1
    assert "HOST:PORT" in err


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1500, "1.5µs"),
        (2221128, "2.221128ms"),
        (10**9, "1s"),
        (5000920274, "5.000920274s"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
        (5405500 * 10**6, "1h30m5.5s"),
    ],
)
def test_durations_as_go_writes_them(ns, text):
    assert gofmt.duration(ns) == text
    assert gofmt.parse_duration(text) == pytest.approx(ns / 1e9)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (9, "9 B"),
        (10, "10 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (24576, "25 kB"),
        (1234567, "1.2 MB"),
        (2**63, "9.2 EB"),
    ],
)
def test_sizes_as_etcdctl_writes_them(count, text):
    assert gofmt.size(count) == text


@pytest.mark.parametrize("word", ["a", "d", "de", "e", "m"])
def test_what_abbreviates_one_of_etcdctls_commands_is_not_taken_for_ours(word):
    exit_code, out, err = run(word, "k")
    assert (exit_code, out) == (1, "")
    assert f'unknown command "{word}" for "sampanctl"' in err


@pytest.mark.parametrize("group", sorted({path[0] for path in ctl._TREE if len(path) > 1}))
@pytest.mark.parametrize("words", [["bogus"], ["bogus", "list"], ["bogus", "-w", "json"], [""]])
def test_what_is_unknown_below_a_group_is_an_error(group, words):
    """etcdctl shows its help and exits with 0, which a script takes for done."""
    exit_code, out, err = run(group, *words)
    assert (exit_code, out) == (1, "")
    assert f'Error: unknown command "{words[0]}" for "sampanctl {group}"\n' in err
    assert f"Run 'sampanctl {group} --help' for usage." in err


def test_a_group_alone_shows_its_commands():
    for words in (["member"], ["member", "--help"], ["member", "bogus", "--help"]):
        exit_code, out, err = run(*words)
        assert (exit_code, err) == (0, "")
        assert out.startswith("NAME:\n\tmember - ")


def test_help_about_what_is_unknown_is_an_error():
    for words in (["bogus"], ["member", "bogus"]):
        exit_code, out, err = run("help", *words)
        assert (exit_code, err) == (1, "Unknown help topic [`bogus`]\n")
        assert out.startswith("NAME:\n")


def test_guesses_below_a_group():
    assert "\n\nDid you mean this?\n\tlist\n\n" in run("member", "lsit")[2]


def test_output_that_nobody_reads():
    """However little it is: it may wait in a buffer until the end."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as output:
        ran = subprocess.run([SAMPANCTL, "version"], stdout=output, stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command", [["sampan", "version"], ["sampan", "help"], ["sampanctl", "version"]]
)
def test_output_on_a_full_disk(command):
    name, *arguments = command
    with open("/dev/full", "wb") as output:
        ran = subprocess.run([BIN / name, *arguments], stdout=output, stderr=subprocess.PIPE)
    error = {"sampan": b"sampan", "sampanctl": b"Error"}[name]
    assert (ran.returncode, ran.stderr) == (1, error + b": No space left on device\n")


@pytest.mark.parametrize("command", ["sampan version", "sampanctl version", "sampanctl get a"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_a_shell_closed(sampan, command, closed):
    line = f"{BIN}/{command} {closed}"
    environment = os.environ | {"SAMPANCTL_ENDPOINTS": sampan}
    ran = subprocess.run(line, shell=True, capture_output=True, env=environment)
    assert (ran.returncode, ran.stderr) == (0, b"")


WAITING = [["lock", "a"], ["elect", "e", "v"]]


@pytest.mark.parametrize("line", WAITING)
def test_an_interrupt_right_after_the_grant_leaves_no_lease(sampan, monkeypatch, line):
    granted = lease_calls._granted

    def interrupted(answer):
        os.kill(os.getpid(), signal.SIGINT)
        return granted(answer)

    with monkeypatch.context() as patch:
        patch.setattr(lease_calls, "_granted", interrupted)
        assert run("--endpoints", sampan, *line) == (1, "", "Error: context canceled\n")
    with Client([sampan]) as client:
        assert client.leases().leases == []


@pytest.mark.parametrize("line", [*WAITING, ["elect", "-l", "e"]])
def test_an_interrupt_while_handlers_are_installed(sampan, monkeypatch, line):
    install = signal.signal

    def interrupted(number, handler):
        before = install(number, handler)
        if number == signal.SIGINT and getattr(handler, "__name__", "") == "on_signal":
            os.kill(os.getpid(), signal.SIGINT)
        return before

    monkeypatch.setattr(signal, "signal", interrupted)
    watches = line[1] == "-l"
    ended = (0, "", "") if watches else (1, "", "Error: context canceled\n")
    assert run("--endpoints", sampan, *line) == ended
