#!/bin/sh
# pyzmq 27.3.0 (libzmq 4.3.5, Linux): a socket that once meets a peer of another security mechanism
# never connects to that address again; one that meets a wrong key does, for ever.
#
# Expected: libzmq connects again and again whatever went wrong, so that a client that is given its
# keys before its server was (as when keys are rolled out) works as soon as the server has them.
#
# A DEALER with CURVE, connected to an address at which there is first another server, for a second,
# and then the right one:
#
#     first a server that is away          connects, its message comes
#     first a CURVE server of another key  connects, its message comes
#     first a server without CURVE         HANDSHAKE_FAILED_PROTOCOL, DISCONNECTED, and nothing more:
#                                          no CONNECT_RETRIED, no message in ten seconds
#
# The same the other way round: a DEALER without CURVE, and first a server with it. Another `connect`
# to the address is taken, and nothing happens either; `disconnect` and then `connect` helps.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyzmq==27.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

assert zmq.zmq_version() == "4.3.5"
KEYS, OTHERS = zmq.curve_keypair(), zmq.curve_keypair()
ctx = zmq.Context()


def server(port, keys):
    socket = ctx.socket(zmq.ROUTER)
    socket.linger = 0
    if keys:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys
    if port:
        until = time.monotonic() + 10
        while True:  # until the one before has let go of the port
            try:
                socket.bind(f"tcp://127.0.0.1:{port}")
                return socket, port
            except zmq.ZMQError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
    return socket, socket.bind_to_random_port("tcp://127.0.0.1")


def client(port, keys):
    socket = ctx.socket(zmq.DEALER)
    socket.linger = 0
    if keys:
        socket.curve_serverkey = keys[0]
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    monitor = socket.get_monitor_socket()
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket, monitor


def events(monitor, seconds):
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        if monitor.poll(50):
            found.append(zmq.Event(recv_monitor_message(monitor)["event"]).name)
    return found


def passes(dealer, server):
    try:
        dealer.send(b"hello", zmq.DONTWAIT)
    except zmq.Again:
        pass  # it has no peer; it may get one
    return bool(server.poll(10_000))


def meets(first, then):
    """Whether a client for the second server gets through to it after it met the first: by itself,
    by another connect, by disconnect and connect."""
    before, port = server(0, first)
    if first is AWAY:
        before.close()
    dealer, monitor = client(port, then)
    seen = events(monitor, 1)
    before.close()
    after, _ = server(port, then)
    came = [passes(dealer, after)]
    if not came[0]:
        assert "CONNECT_RETRIED" not in seen + events(monitor, 1), seen
        dealer.connect(f"tcp://127.0.0.1:{port}")
        came.append(passes(dealer, after))
        dealer.disconnect(f"tcp://127.0.0.1:{port}")
        dealer.connect(f"tcp://127.0.0.1:{port}")
        came.append(passes(dealer, after))
    dealer.disable_monitor()
    for each in (dealer, monitor, after):
        each.close()
    return came


AWAY, PLAINLY = (), None  # neither has keys
found = {
    "away, then CURVE": meets(AWAY, KEYS),
    "another key, then the right one": meets(OTHERS, KEYS),
    "no CURVE, then CURVE": meets(PLAINLY, KEYS),
    "CURVE, then none": meets(KEYS, PLAINLY),
}
for name, came in found.items():
    print(f"{name}: {came}")
ctx.destroy(linger=0)
sys.exit(list(found.values()) != [[True], [True], [False, False, True], [False, False, True]])
PYTHON
