"""The examples of the guide's chapter on recipes are programs, and they run."""

import asyncio
import re
from pathlib import Path

import sampan
from sampan.client import AsyncClient, Client

TEXT = (Path(sampan.__file__).parent / "docs" / "client.md").read_text()
CHAPTER = TEXT[TEXT.index("\n## Recipes\n") : TEXT.index("\n## Threads, signals")]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", CHAPTER, re.DOTALL | re.MULTILINE)


def test_they_do_what_the_chapter_says(real):
    async def book(function):
        async with AsyncClient([real], timeout_s=30) as client:
            return await function(client)

    with Client([real], timeout_s=30) as client:
        names = {"client": client}
        for example in EXAMPLES:
            exec(example, names)
        assert asyncio.run(book(names["book"]))
        assert client.get("ledger/8").kvs[0].value == b"43"
        assert client.get("stock/rice").kvs[0].value == b"0"
        assert client.get("till").kvs[0].value == b"10"
    assert names["paid"] == 10
    assert names["booked"]
    assert names["fencing_token"] > 0
    assert names["leader"] == names["seen"]
    assert names["seen"].value == b"host-7:9001"
    assert (names["job"], names["next_job"]) == (b"first", b"sooner")
