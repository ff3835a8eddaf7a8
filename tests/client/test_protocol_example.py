"""The example of docs/protocol.md is a program, and it runs."""

import re
import subprocess
import sys
from pathlib import Path

import sampan

TEXT = (Path(sampan.__file__).parent / "docs" / "protocol.md").read_text()


EXAMPLE = re.search(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[1]


def run(endpoint: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", EXAMPLE, f"tcp://{endpoint}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return ran.stdout


def test_it_puts_two_keys_and_reads_one_back(real):
    assert run(real) == "put: revision 2\nput: revision 3\nget: sampan\n"


def test_it_prints_an_error(node):
    compacted = [11, "etcdserver: mvcc: required revision has been compacted", "not applied"]
    node.behave = lambda header, requests: compacted
    assert run(node.endpoint).count(f"put: error {compacted[1]} not applied") == 2
