"""Rules of this code base that no tool checks: sizes, and which file may know what."""

import ast
from pathlib import Path

import pytest
import sampan

ROOT = Path(sampan.__file__).parent
PACKAGES = ("actors", "bench", "client", "config", "ctl", "hosts", "raft", "storage", "transport")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600

FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*FILES, *TESTS]}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """Top-level names of the modules that a file imports from elsewhere, at any depth."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def importers(module, among=FILES):
    return {name_of(path) for path in among if module in imports(path)}


def functions(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(TREES[path]) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sizes(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES_MAX
    long = {
        f.name: f.end_lineno - f.lineno + 1
        for f in functions(path)
        if f.end_lineno - f.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert not long


def test_there_is_something_to_check():
    assert len(FILES) > 50
    assert importers("zmq"), "the test below would pass on nothing"


def test_who_knows_what():
    assert importers("msgpack") == {"transport/codec.py"}
    assert importers("rocksdict") == {"storage/rocks.py"}


def importers_of_sockets(path):
    return imports(path) & {"zmq", "socket"}


def test_only_one_file_makes_sockets():
    makers = {
        name_of(path)
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in ("bind", "connect", "setsockopt"))
        and importers_of_sockets(path)
    }
    allowed = {
        "transport/sockets.py",
        "hosts/supervisor.py",  # asks the kernel whether a port is free
        "bench/ports.py",  # likewise
    }
    assert makers - {name for name in makers if name.startswith("bench/")} <= allowed


@pytest.mark.parametrize("banned", ["pickle", "marshal", "shelve", "dill", "cloudpickle"])
def test_nothing_is_ever_unpickled(banned):
    assert importers(banned) == set()


def test_no_queue_of_multiprocessing():
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Attribute) and node.attr in ("Queue", "Manager", "SimpleQueue"):
                owner = node.value
                assert not (isinstance(owner, ast.Name) and "multiprocessing" in owner.id), path


def test_no_bare_except_and_nothing_swallowed():
    for path in [*FILES, *TESTS]:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"
                wide = isinstance(node.type, ast.Name) and "Exception" in node.type.id
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                assert not (wide and silent), f"{path}:{node.lineno}"


EXCEPTIONS = {"raft/core.py": {"random"}}
"""The default of Config.rand, for programs that embed the core; the actors give their own."""

HANDLERS = ("node", "raft_core", "wal_writer", "applier", "transport", "log_tail",
            "snapshot_stream", "actor", "channels", "watches/ranges", "watches/feed",
            "watches/connection", "watches/hub")  # fmt: skip
PURE = [p for p in FILES if p.parent.name == "raft"] + [
    ROOT / "actors" / f"{name}.py" for name in HANDLERS
]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_the_core_and_the_actors_do_no_io(path):
    """Time, chance and the world come in as arguments and messages, so that a simulation can
    replace them."""
    outside = {"asyncio", "os", "random", "secrets", "select", "signal", "socket", "subprocess",
               "threading", "time", "uuid", "zmq"}  # fmt: skip
    assert imports(path) & outside <= EXCEPTIONS.get(name_of(path), set())


def test_the_core_imports_the_standard_library_only():
    allowed = {"abc", "bisect", "collections", "copy", "dataclasses", "enum", "functools", "heapq",
               "itertools", "math", "operator", "struct", "types", "typing"}  # fmt: skip
    for path in FILES:
        if path.parent.name == "raft":
            wanted = allowed | EXCEPTIONS.get(name_of(path), set())
            assert imports(path) <= wanted, name_of(path)
