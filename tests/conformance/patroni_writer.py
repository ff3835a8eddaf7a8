"""Commits rows at whichever of the servers (ports in the arguments) is the primary, a line of JSON
for each look at all of them; when its input ends, says how many of the committed are missing."""

import json
import select
import sys
from contextlib import suppress

import psycopg

ASK = "host=127.0.0.1 user=postgres password=super dbname=postgres connect_timeout=2"
PAUSE_S = 0.1
ports = [int(word) for word in sys.argv[1:]]
committed = set()
number = 0


def connect(port):
    return psycopg.connect(
        f"{ASK} port={port}", autocommit=True, options="-c statement_timeout=2000"
    )


def is_primary(port):
    with suppress(psycopg.Error), connect(port) as connection:
        return not connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
    return False


def commit(port):
    """Whether a row of its own was committed, by a standby, too (or the server warns)."""
    warned = []
    with suppress(psycopg.Error), connect(port) as connection:
        connection.add_notice_handler(warned.append)
        connection.execute("CREATE TABLE IF NOT EXISTS row (n bigint PRIMARY KEY)")
        connection.execute("INSERT INTO row VALUES (%s)", (number,))
        return not any("canceling wait" in (w.message_primary or "") for w in warned)
    return False


def tell(**what):
    print(json.dumps(what), flush=True)


while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
    primaries = [port for port in ports if is_primary(port)]
    if primaries:
        number += 1
        if commit(primaries[0]):
            committed.add(number)
    tell(committed=len(committed), primaries=primaries)
for port in ports:
    if is_primary(port):
        with connect(port) as connection:
            there = {n for (n,) in connection.execute("SELECT n FROM row")}
        tell(missing=len(committed - there))
