"""The suite is the same wherever it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
SHOW = f"""
import runpy
from hypothesis import settings
runpy.run_path({str(CONFTEST)!r})
chosen = settings.default
print(chosen.derandomize, chosen.print_blob, type(chosen.database).__name__, chosen.deadline)
"""


@pytest.mark.parametrize("value", [None, "true", "false", "1", ""])
def test_examples_are_new_ones_also_on_build_servers(value):
    """Where any of the variables that hypothesis looks for is set, to whatever."""
    names = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "BUILDKITE", "TEAMCITY_VERSION")
    environment = {key: text for key, text in os.environ.items() if key not in names}
    environment |= {} if value is None else dict.fromkeys(names, value)
    command = [sys.executable, "-c", SHOW]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.split() == ["False", "True", "DirectoryBasedExampleDatabase", "None"]
