"""Draws the pictures of docs/how-it-works.md from a put on a running cluster.

python docs/pictures/make.py HOST:PORT,…
"""

import sys
from pathlib import Path

from sampan.client import Client
from sampan.web.picture import picture

FLOWS = {
    "request": {"clientc", "propc", "propose", "readyc"},
    "sending": {"readyc", "write", "fsync", "recvc"},
    "receiving": {"recvc", "readyc", "write", "fsync", "acknowledged"},
    "applying": {"acknowledged", "applyc", "applied", "resultc"},
}
"""Which steps each of the four ways has."""
TAKERS = {"request"}
"""Of the member alone that took the write."""


def main(endpoints: list[str]) -> None:
    """Draw them."""
    with Client(endpoints) as client:
        names = {member.id: member.name for member in client.member_list().members}
        for number in range(50):  # so that everything has been used before
            client.put("ship", f"{number}")
        trace = client.trace(client.put("ship", "sampan").header.revision)
    folder = Path(__file__).parent
    folder.joinpath("write.svg").write_text(picture(trace, names))
    for name, wanted in FLOWS.items():
        steps = [s for s in trace.steps if s.name in wanted]
        if name in TAKERS:
            steps = [s for s in steps if s.member_id == trace.member_id]
        folder.joinpath(f"{name}.svg").write_text(picture(trace._replace(steps=steps), names))


main(sys.argv[1].split(","))
