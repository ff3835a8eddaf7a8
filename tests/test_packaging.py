"""What is installed is what is here."""

import tomllib
from pathlib import Path

import sampan

ROOT = Path(sampan.__file__).parent
NOT_PACKAGES = {"tests", "docs", "build", "mutants"}


def test_every_folder_with_code_is_a_package_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {"sampan"}
    for path in ROOT.rglob("__init__.py"):
        parts = path.relative_to(ROOT).parts[:-1]
        if parts and not parts[0].startswith(".") and parts[0] not in NOT_PACKAGES:
            found.add(".".join(("sampan", *parts)))
    assert listed == found


def test_no_module_at_the_root_but_the_two():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_files_that_ship_are_there():
    assert (ROOT / "py.typed").exists()
    assert (ROOT / "config" / "dev-3-nodes.toml").exists()
