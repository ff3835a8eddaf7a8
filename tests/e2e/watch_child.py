"""A watcher in a process of its own, which a test can stop: tells how far it is, then what it saw.

usage: watch_child.py PREFIX ENDPOINT…
It prints "at REVISION" now and then, and at the end "saw CRC COUNT".
"""

import sys
import zlib

from sampan.client import Client

END = b"end"


def checksum(crc, event):
    """Of an event and all before it."""
    told = (event.kv.mod_revision, str(event.type), event.kv.key, event.kv.value)
    return zlib.crc32(repr(told).encode(), crc)


def main(prefix, endpoints):
    crc = count = told = 0
    with (
        Client(endpoints, timeout_s=60.0) as client,
        client.watch(prefix, prefix=True, start_revision=1) as watch,
    ):
        for response in watch:
            for event in response.events:
                if event.kv.key.endswith(END):
                    print("saw", crc, count, flush=True)
                    return
                crc = checksum(crc, event)
                count += 1
            if count - told > 500:
                told = count
                print("at", response.events[-1].kv.mod_revision, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
