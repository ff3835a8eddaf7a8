"""A process that takes a lock and, when told to go on, writes under it in three ways.

    lock_worker.py <endpoint> <directory>

It says `locked <token>`, waits for a line, writes to a store that does not look at tokens, to one
that does, and to the cluster under the lock's guard, and says `wrote <token> <accepted …> <lost>`.
Then it begins again, until its input ends.
"""

import fcntl
import json
import sys
from contextlib import suppress
from pathlib import Path

from sampan.client import Client, errors, ops
from sampan.client.recipes import Lock

TTL_S = 2


def store(path, token, *, fenced):
    """Append a write to a store outside the cluster; returns whether it was accepted."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        greatest = max(map(json.loads, file), default=0)
        if fenced and token < greatest:
            return False
        file.write(f"{json.dumps(token)}\n")
        return True


def turn(client, directory):
    with client.lease(TTL_S) as lease:
        lock = Lock(client, "locks/paused", lease)
        token = lock.lock()
        print("locked", token, flush=True)
        if not sys.stdin.readline():
            return False
        unfenced = store(directory / "unfenced", token, fenced=False)
        fenced = store(directory / "fenced", token, fenced=True)
        mine = ops.put("paused/last", str(token))
        guarded = client.txn([lock.guard()], [mine]).succeeded
        print("wrote", token, unfenced, fenced, guarded, lock.held, flush=True)
        lock.unlock()
        return True


def main():
    endpoint, directory = sys.argv[1:]
    with Client([endpoint], timeout_s=30) as client:
        going_on = True
        while going_on:
            with suppress(errors.LeaseLostError):
                going_on = turn(client, Path(directory))


if __name__ == "__main__":
    main()
