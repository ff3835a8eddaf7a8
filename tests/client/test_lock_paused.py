"""Holders of a lock that are stopped for longer than their lease lives, and then go on.

The lock cannot prevent that two believe that they hold it: what is protected without looking at
tokens goes wrong here, every time, and what looks at them never does.
"""

import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

import pytest
from sampan.client import Client

WORKERS = 4
ROUNDS = 3
WAIT_S = 180.0


class Worker:
    """A `lock_worker.py`; what it says goes to `said`, with itself."""

    def __init__(self, endpoint, directory, said):
        script = Path(__file__).with_name("lock_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, script, endpoint, directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, args=(said,))
        self._listener.start()

    def _listen(self, said):
        for line in self.process.stdout:
            said.put((self, *line.split()))

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.process.kill()
        self.process.communicate()
        self._listener.join()


@contextmanager
def workers(endpoint, directory):
    said = Queue()
    with ExitStack() as running:
        for _ in range(WORKERS):
            running.callback(Worker(endpoint, str(directory), said).end)
        yield said


def one_is_paused(said):
    """Stop the next holder, let others hold it meanwhile and write, and have the first go on.

    Returns (the first's token, the greatest that the others wrote with, what of its own writes the
    first said that was accepted).
    """
    paused, token, greatest = None, 0, 0
    while True:
        worker, what, number, *accepted = said.get(timeout=WAIT_S)
        if worker is paused:
            return token, greatest, accepted
        if what == "wrote":
            if accepted[1] == "True":  # else its lease, too, ended on a busy machine
                greatest = max(greatest, int(number))
            if paused is not None and greatest > token:
                paused.resume()
                paused.go_on()
        elif paused is None:
            worker.pause()
            paused, token = worker, int(number)
        else:
            worker.go_on()


@pytest.fixture
def client(real):
    with Client([real], timeout_s=30) as client:
        yield client


def test_paused_holders_do_harm_without_their_tokens_and_none_with_them(real, client, tmp_path):
    with workers(real, tmp_path) as said:
        for _ in range(ROUNDS):
            token, later, (unfenced, fenced, guarded, held) = one_is_paused(said)
            assert later > token
            assert unfenced == "True", "a store that does not look at tokens accepted it"
            assert (fenced, guarded, held) == ("False", "False", "False")

    def violations(name):
        tokens = [int(line) for line in (tmp_path / name).read_text().split()]
        return sum(token < max(tokens[:i], default=0) for i, token in enumerate(tokens))

    assert violations("unfenced") >= ROUNDS
    assert violations("fenced") == 0
    last = client.get("paused/last").kvs[0].value
    guarded = []
    with client.watch("paused/last", start_revision=1) as history:
        while last not in guarded:
            guarded += [event.kv.value for event in next(history).events]
    tokens = [int(value) for value in guarded]
    assert tokens == sorted(tokens), "a guarded write came out of turn"
