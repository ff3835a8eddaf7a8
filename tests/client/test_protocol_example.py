"""The example of docs/protocol.md is a program, and it runs."""

import re
import subprocess
import sys
from pathlib import Path

import sampan

TEXT = (Path(sampan.__file__).parent / "docs" / "protocol.md").read_text()


def test_the_example_puts_two_keys_and_reads_one_back(node):
    example = re.search(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[1]
    ran = subprocess.run(
        [sys.executable, "-c", example, f"tcp://{node.endpoint}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "put: revision 2\nput: revision 3\nget: sampan\n"
    assert node.requests("write") == [["put", b"ship", b"sampan"], ["put", b"river", b"pearl"]]
