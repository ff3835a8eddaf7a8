#!/bin/sh
# pyzmq 27.3.0 (Linux): a signal that is handled ends a poll up to a second too early, or prolongs it;
# with a signal now and then, a receive with a time limit never ends.
#
# Expected: what Python's own calls do since 3.5 (PEP 475): the handler runs, and the call goes on with
# the time that is left.
#
#     poll(600), a signal after 100 ms, on the eve of a full second of the monotonic clock    0.1 s
#     the same amid a second                                                                  0.7 s
#     select.poll of the standard library, either                                             0.6 s
#     recv() with RCVTIMEO 600, a signal every 100 ms, 20 of them                             2.6 s
#
# The poll counts what has passed in whole seconds of the clock: none, or one for the few milliseconds in
# which it turned. A poll of three seconds may so end a second early. A receive begins its time anew with
# each signal, and a profiler's timer, a terminal that changes its size, or children that end may
# send them for ever; a send with SNDTIMEO likewise. What works is a deadline of one's own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyzmq==27.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import os
import select
import signal
import sys
import time

import zmq

SIGNALS = {"left": 0}


def count(*_):
    SIGNALS["left"] -= 1
    if SIGNALS["left"] <= 0:
        signal.setitimer(signal.ITIMER_REAL, 0)


def lasts_s(wait, at, signals):
    """How long `wait` takes from a time of the clock's second, with a signal every 100 ms."""
    while not at <= time.monotonic() % 1 < at + 0.01:
        time.sleep(0.001)
    SIGNALS["left"] = signals
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        wait()
    except zmq.Again:
        pass
    return time.monotonic() - begun


signal.signal(signal.SIGALRM, count)
socket = zmq.Context().socket(zmq.PULL)
socket.bind("inproc://nobody-sends")
socket.rcvtimeo = 600
pipe = select.poll()
pipe.register(os.pipe()[0], select.POLLIN)
found = {
    "poll, on the eve of a second": lasts_s(lambda: socket.poll(600), 0.95, 1),
    "poll, amid a second": lasts_s(lambda: socket.poll(600), 0.2, 1),
    "select.poll, on the eve of a second": lasts_s(lambda: pipe.poll(600), 0.95, 1),
    "recv": lasts_s(socket.recv, 0.2, 20),
}
for name, seconds in found.items():
    print(f"{name}: {seconds:.2f} s")
early, late, right, received = found.values()
sys.exit(not (early < 0.5 and late > 0.68 and right > 0.59 and received > 2))
PYTHON
