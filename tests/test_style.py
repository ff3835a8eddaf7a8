"""Rules of this code base that no tool checks: sizes, and which file may know what."""

import ast
from pathlib import Path

import pytest
import sampan

ROOT = Path(sampan.__file__).parent
PACKAGES = (
    "actors",
    "bench",
    "client",
    "config",
    "ctl",
    "gateway",
    "hosts",
    "raft",
    "security",
    "storage",
    "transport",
    "web",
)
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
    assert importers("nacl") == {"transport/curve.py"}


def importers_of_sockets(path):
    return imports(path) & {"zmq", "socket"}


def test_only_two_files_make_sockets():
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
        "transport/tcp.py",
        "bench/ports.py",  # asks the kernel whether a port is free
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
            "snapshot_stream", "actor", "channels", "gatekeeper", "headers", "reads", "writes",
            "watches/ranges", "watches/feed",
            "watches/connection", "watches/hub")  # fmt: skip
PURE = [p for p in FILES if p.parent.name == "raft"] + [
    *(ROOT / "actors" / f"{name}.py" for name in HANDLERS),
    *(ROOT / "security" / f"{name}.py" for name in ("ranges", "auth", "rules")),
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


KNOWS = {
    "config": set(),
    "raft": set(),
    "security": {"transport", "config"},
    "transport": {"raft", "config"},
    "storage": {"security", "transport", "raft", "config"},
    "client": {"transport", "config"},
    "actors": {"security", "storage", "transport", "raft", "config"},
    "gateway": {"client", "web", "transport", "security", "config"},
    "ctl": {"client", "storage", "config"},
    "web": {"client", "config"},
    "hosts": {
        "actors",
        "client",
        "gateway",
        "web",
        "storage",
        "transport",
        "security",
        "raft",
        "config",
    },
    "bench": {"client", "raft", "transport", "config"},
}
"""Which room may import from which: arrows run down only (docs/design.md, "Rooms")."""


def rooms_imported(path):
    """The rooms whose modules a file imports, at any depth."""
    here = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            target = (*base, *(node.module.split(".") if node.module else ()))
            yield from target[:1] or (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arrows_run_down_only(path):
    room = path.relative_to(ROOT).parts[0]
    known = {name for name in rooms_imported(path) if name in KNOWS}
    assert known <= KNOWS[room] | {room}


def test_no_two_rooms_know_each_other():
    done = set()
    while len(done) < len(KNOWS):
        ready = {room for room, known in KNOWS.items() if room not in done and known <= done}
        assert ready, f"a circle among {KNOWS.keys() - done}"
        done |= ready


def runtime_imports(path):
    """Modules of the same room that a file imports at its top, not only for their types."""
    here = path.relative_to(ROOT).parts[:-1]
    for node in TREES[path].body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            target = (*base, *(node.module.split(".") if node.module else ()))
            for name in (alias.name for alias in node.names):
                for parts in ((*target, name), target):
                    file = ROOT.joinpath(*parts).with_suffix(".py")
                    if parts and file.exists():
                        yield file
                        break


def test_no_circle_of_files():
    waits = {path: set(runtime_imports(path)) for path in FILES}
    while waits:
        ready = [path for path, needs in waits.items() if not needs & waits.keys()]
        assert ready, f"a circle among {sorted(map(name_of, waits))}"
        for path in ready:
            del waits[path]
