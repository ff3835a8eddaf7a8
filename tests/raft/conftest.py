"""`pytest tests/raft --rewrite` replaces the expected output of the transcripts by the present one.

Look at the difference, and keep it only if you understand what caused each line of it.
"""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite", action="store_true", help="rewrite transcripts with the present output"
    )


@pytest.fixture
def rewrite(request) -> bool:
    # False too if this file was found too late to add the option.
    return bool(request.config.getoption("--rewrite", default=False))
