"""sampanctl's lock and elect print what etcdctl's print and exit as they do."""

import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import test_like_etcdctl as like_etcdctl
from .conftest import ETCDCTL, SAMPANCTL
from .test_like_etcdctl import IDENTITY, etcdctl, parse, sampanctl

WAIT_S = 180
LINES_OF_A_KEY = {"simple": 2, "json": 1}


class Program:
    """One of the two programs and the cluster that it talks to."""

    def __init__(self, path, endpoint):
        self.base = [path, "--endpoints", endpoint]
        self.running = []

    def run(self, *args, **options):
        command = [*self.base, *args]
        ran = subprocess.run(command, capture_output=True, timeout=WAIT_S, **options)
        return normal(ran.stdout), normal(ran.stderr), ran.returncode

    def start(self, *args):
        self.running.append(Running([*self.base, *args]))
        return self.running[-1]

    def lines(self, *args):
        return subprocess.run(
            [*self.base, *args], capture_output=True, timeout=WAIT_S, check=True
        ).stdout.split()

    def wait_lined_up(self, name, count):
        """Wait until so many hold or wait; asks again and again, for etcd cannot be watched so."""
        while len(self.lines("get", name + "/", "--prefix", "--keys-only")) < count:
            pass


class Running:
    """A program that goes on until it is told to end."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def key(self, form="simple"):
        """The next key that it prints."""
        return b"".join(self.process.stdout.readline() for _ in range(LINES_OF_A_KEY[form]))

    def signal(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def end(self):
        """(what it printed since, its errors, its exit code)."""
        stdout, stderr = self.process.communicate(timeout=WAIT_S)
        return normal(stdout), normal(stderr), self.process.returncode


def without_numbers(output):
    return re.sub(rb"\d+", b"N", re.sub(rb'"key":"[^"]*"', b'"key":"K"', normal(output)))


def normal(output):
    """Without what differs from one cluster to the next."""
    if output.startswith(b"NAME:\n"):
        return b"a help text"
    output = re.sub(rb'^\{"level":.*\n', b"", output, flags=re.MULTILINE)
    for pattern, replacement in IDENTITY:
        output = re.sub(pattern, replacement, output)
    return re.sub(rb"\b[0-9a-f]{14,16}\b", b"LEASE", output)


@pytest.fixture(scope="module")
def programs(etcd, sampan):
    both = Program(ETCDCTL, etcd), Program(SAMPANCTL, sampan)
    yield both
    for program in both:
        for running in program.running:
            running.process.kill()
            running.process.communicate()


def both(programs, scenario):
    """What the same does with each of the programs, and that it is equal."""
    with ThreadPoolExecutor(2) as beside:
        theirs, ours = beside.map(scenario, programs)
    assert ours == theirs, f"{ours}\n{theirs}"
    return ours


LINES = """
lock
lock a true
lock "" true
lock a -- sh -c "exit 7"
lock a -- sh -c "kill -9 $$"
lock a -- sh -c "kill -SEGV $$"
lock a sh -c true
lock a "no such command"
lock a ./no-such-command
lock a /usr
in | lock a -- sh -c "read line"
lock --ttl 0 a true
lock --ttl=-5 a true
lock --ttl x a true
lock --ttl 9000000001 a true
lock a true -w table
lock a -w table
lock a -w xml
elect
elect e
elect e v w
elect -l e v
elect e v -w xml
elect e v -w table
elect --unknown
""".strip().splitlines()


def test_what_ends_by_itself(etcd, sampan, monkeypatch):
    differences = []
    with ThreadPoolExecutor(1) as beside:
        for text in LINES:
            line = parse(text)
            running = beside.submit(etcdctl, etcd, line)
            ours = like_etcdctl.normal(sampanctl(sampan, line, monkeypatch), line.args)
            theirs = like_etcdctl.normal(running.result(), line.args)
            if ours != theirs:
                differences.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert not differences, "\n".join(differences)


def test_the_command_writes_where_the_program_does(programs):
    script = "echo out; echo err >&2; exit 3"
    ran = both(programs, lambda program: program.run("lock", "a", "--", "sh", "-c", script))
    assert ran == (b"out\n", b"err\nError: exit status 3\n", 3)


def test_the_command_is_told_of_the_lock(programs):
    """Of a lock that nobody else has."""

    def revision_is_the_keys(program):
        script = 'echo "$ETCD_LOCK_KEY"; echo "$ETCD_LOCK_REV"'
        key, token = program.lines("lock", "told", "--", "sh", "-c", script)
        before = program.lines("put", "later", "x", "-w", "json")
        revision = int(re.search(rb'"revision":(\d+)', before[0])[1])
        return key.split(b"/")[0], revision - int(token)

    assert both(programs, revision_is_the_keys) == (b"told", 2), "locked, unlocked, put"


@pytest.mark.parametrize("form", LINES_OF_A_KEY)
def test_holding_until_a_signal(programs, form):
    def hold(program):
        running = program.start("lock", f"held-{form}", "-w", form)
        first = without_numbers(running.key(form))
        waiting = program.start("lock", f"held-{form}")
        program.wait_lined_up(f"held-{form}", 2)
        waiting.signal(signal.SIGTERM)
        gave_up = waiting.end()
        running.signal()
        ended = running.end()
        left = program.run("get", f"held-{form}/", "--prefix", "--count-only", "-w", "fields")
        return first, gave_up, ended, left[0].splitlines()[-1]

    _, gave_up, ended, left = both(programs, hold)
    assert gave_up == (b"", b"Error: context canceled\n", 1)
    assert (ended, left) == ((b"", b"", 0), b'"Count" : 0')


def test_the_lease_of_a_holder_is_revoked(programs):
    def hold(program):
        running = program.start("lock", "revoked", "--ttl", "6")
        lease = running.key().split(b"/")[1].strip()
        program.lines("lease", "revoke", lease)
        return running.end()

    assert both(programs, hold) == (b"", b"Error: session expired\n", 1)


def test_one_after_the_other(programs):
    def take_turns(program):
        first = program.start("lock", "turns")
        first.key()
        second = program.start("lock", "turns", "echo", "mine")
        program.wait_lined_up("turns", 2)
        first.signal()
        return first.end(), second.end()

    assert both(programs, take_turns)[1] == (b"mine\n", b"", 0)


@pytest.mark.parametrize("form", LINES_OF_A_KEY)
def test_an_election_and_who_looks_on(programs, form):
    name = f"elect-{form}"

    def elect(program):
        first = program.start("elect", name, "one", "-w", form)
        seen = [first.key(form)]
        observer = program.start("elect", "-l", name, "-w", form)
        seen.append(observer.key(form))
        second = program.start("elect", name, "two", "-w", form)
        program.wait_lined_up(name, 2)
        first.signal()
        ended = first.end()
        seen += [observer.key(form), second.key(form)]
        observer.signal(signal.SIGTERM)
        second.signal()
        return [without_numbers(key) for key in seen], ended, observer.end(), second.end()

    _, ended, observer, second = both(programs, elect)
    assert ended == observer == second == (b"", b"", 0)


def test_what_etcdctl_waits_for_ends_with_the_commands_time():
    program = Program(SAMPANCTL, "127.0.0.1:1")
    for line in (["lock", "a"], ["elect", "a", "b"]):
        ran = program.run("--command-timeout=200ms", *line)
        why = b"tcp://127.0.0.1:1: cannot connect: 127.0.0.1:1: Connection refused"
        assert ran == (b"", b"Error: context deadline exceeded: %s\n" % why, 1)
    ran = program.run("--command-timeout=200ms", "elect", "-l", "a")
    assert ran == (b"", b"Error: elect: observer lost\n", 1)


def test_a_lock_that_was_lost_is_not_a_success(programs):
    """etcdctl exits with 0 here."""
    program = programs[1]
    script = '"$0" --endpoints "$1" del "$ETCD_LOCK_KEY"'
    endpoint = program.base[-1]
    ran = program.run("lock", "lost", "--", "sh", "-c", script, SAMPANCTL, endpoint)
    assert ran == (b"1\n", b"Error: session expired\n", 1)
