"""What the guides name is there."""

import ast
import re
from pathlib import Path

import pytest
import sampan

ROOT = Path(sampan.__file__).parent
GUIDE = ROOT / "docs" / "how-it-works.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def methods(path):
    """`Class.method` of a file."""
    classes = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.ClassDef)]
    return {
        f"{owner.name}.{each.name}"
        for owner in classes
        for each in owner.body
        if isinstance(each, ast.FunctionDef)
    }


@pytest.mark.parametrize(
    ("name", "link"), sorted(set(re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", TEXT)))
)
def test_each_step_leads_to_what_does_it(name, link):
    path = (GUIDE.parent / link).resolve()
    assert path.exists()
    assert "/" in name or name in methods(path)


@pytest.mark.parametrize("picture", re.findall(r"\]\((pictures/[^)]+)\)", TEXT))
def test_each_picture_is_there_and_tells_what_it_shows(picture):
    drawn = (GUIDE.parent / picture).read_text()
    alt = re.search(rf"!\[([^]]+)\]\({picture}\)", TEXT)[1]
    steps = set(re.findall(r"\b(clientc|propc|propose|readyc|recvc|acknowledged|applied)\b", alt))
    assert all(f">{step}</text>" in drawn for step in steps)


def test_every_step_of_a_trace_is_explained():
    trace = (ROOT / "client" / "trace.py").read_text()
    explained = set(re.findall(r'^    "(\w+)": "', trace, re.MULTILINE))
    assert len(explained) > 10
    assert all(re.search(rf"\b{step}\b", TEXT) for step in explained)
