"""Mutation testing of the raft core: change one thing at a time and see whether a test notices.

    python tests/raft/mutants.py [--sample N] [--seed S] [--minutes M] [FILE...]

Each mutant runs in a forked child that compiles the changed source in place of the module; the
tests that know the module best run first and stop at the first failure. One process, so it can run
beside other work (`nice`). Survivors are printed as file:line and the change.
"""

import argparse
import ast
import copy
import importlib.machinery
import importlib.util
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis  # noqa: F401 - imported once, before forking
import pytest

HERE = Path(__file__).parent
RAFT = HERE.parent.parent / "raft"
SKIPPED = {"__init__.py"}
FIRST = {  # the tests that know a module best; the others follow
    "log.py": ["log", "ready", "replication"],
    "log_unstable.py": ["log", "ready"],
    "storage.py": ["log", "ready"],
    "quorum.py": ["membership", "describe"],
    "confchange.py": ["membership", "inbound"],
    "tracker.py": ["progress", "membership", "replication"],
    "election.py": ["elections", "leases", "transfer", "roles"],
    "follower.py": ["replication", "snapshots", "reads", "transfer"],
    "leader.py": ["replication", "transfer", "reads", "membership", "progress"],
    "replication.py": ["progress", "snapshots", "replication"],
    "rawnode.py": ["ready", "reads", "snapshots"],
    "read_index.py": ["reads"],
    "core.py": ["elections", "leases", "ready", "membership", "progress", "roles"],
    "inbound.py": ["inbound", "ready"],
    "types.py": ["inbound", "log"],
    "proto.py": ["inbound"],
    "describe.py": ["describe", "transcripts"],
    "config.py": ["ready"],
    "errors.py": ["inbound", "log"],
}
SECONDS_MAX = 20  # of CPU time for one mutant; one that hangs or fills the memory is noticed
MEMORY_MAX = 2**29

COMPARES = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place, with a few words about it."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARES:
            other = copy.deepcopy(node)
            other.ops = [COMPARES[type(op)]()]
            yield f"{type(op).__name__} -> {type(other.ops[0]).__name__}", other
        case ast.BoolOp():
            other = copy.deepcopy(node)
            other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"{type(node.op).__name__} -> {type(other.op).__name__}", other
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", node.operand
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            other = copy.deepcopy(node)
            other.op = ARITHMETIC[type(node.op)]()
            yield f"{type(node.op).__name__} -> {type(other.op).__name__}", other
        case ast.Constant(value=bool() as value):
            yield f"{value} -> {not value}", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield f"{value} -> {value + 1}", ast.Constant(value + 1)
        case ast.If() | ast.IfExp() | ast.While():
            other = copy.deepcopy(node)
            other.test = ast.UnaryOp(ast.Not(), other.test)
            yield "condition negated", other
        case ast.Call(func=ast.Name(id="min" | "max" as name)):
            other = copy.deepcopy(node)
            other.func.id = "max" if name == "min" else "min"
            yield f"{name} -> {other.func.id}", other
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield f"{type(node).__name__} removed", ast.Pass()
        case ast.Assign(targets=[ast.Attribute()]):
            yield "assignment removed", ast.Pass()
        case ast.Break() | ast.Continue():
            yield f"{type(node).__name__} removed", ast.Pass()


def is_log_line(node: ast.AST) -> bool:
    """A call of the logger: its wording is for transcripts, its absence harms nobody."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in ("debug", "info", "warning", "error")
    )


def walk(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, position, child) of what may be mutated."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for position, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not is_log_line(child):
                yield node, name, position, child
                yield from walk(child)


def mutants(path: Path) -> Iterator[tuple[str, str]]:
    """(description, source) of every mutant of a file."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    for parent, name, position, child in list(walk(tree)):
        line = getattr(child, "lineno", 0)
        for words, other in replacements(child):
            ast.copy_location(other, child)
            if position is None:
                setattr(parent, name, other)
            else:
                getattr(parent, name)[position] = other
            yield (
                f"{path.name}:{line}: {words}: {ast.unparse(child)[:60]!r}",
                ast.unparse(ast.fix_missing_locations(tree)),
            )
            if position is None:
                setattr(parent, name, child)
            else:
                getattr(parent, name)[position] = child


class Replace(importlib.machinery.SourceFileLoader):
    """Loads one module from a changed source."""

    source = b""

    def get_code(self, fullname: str):
        return compile(self.source, self.path, "exec")


def install(path: Path, source: str) -> None:
    """Make the next import of the module compile `source`."""
    name = f"sampan.raft.{path.stem}"

    class Finder:
        @staticmethod
        def find_spec(fullname, _path=None, _target=None):
            if fullname != name:
                return None
            loader = Replace(name, str(path))
            loader.source = source.encode()
            return importlib.util.spec_from_loader(name, loader)

    sys.meta_path.insert(0, Finder)


def tests_for(path: Path) -> list[list[str]]:
    """Test files in two stages, so that most mutants never have to collect the second."""
    first = [HERE / f"test_{name}.py" for name in FIRST.get(path.name, [])]
    rest = [t for t in sorted(HERE.glob("test_*.py")) if t not in first]
    return [[str(t) for t in stage] for stage in (first, rest)]


def survives(path: Path, source: str) -> bool:
    """Run the tests on a mutant in a child; True if they pass."""
    pid = os.fork()
    if pid == 0:
        code: object = 1
        try:
            for limit, value in (
                (resource.RLIMIT_CPU, SECONDS_MAX),
                (resource.RLIMIT_AS, MEMORY_MAX),
            ):
                resource.setrlimit(limit, (value, value))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            install(path, source)
            options = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
            options += ["--timeout=0"]  # the limit above is in CPU time, which load does not change
            code = any(pytest.main([*options, *stage]) for stage in tests_for(path))
        finally:
            os._exit(int(bool(code)))
    return os.waitpid(pid, 0)[1] == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--sample", type=int, help="so many mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600)
    args = parser.parse_args()
    os.environ["SAMPAN_RAFT_SEEDS"] = "0:2"  # the simulation is for what nobody thought of
    os.chdir(RAFT.parent)
    files = args.files or [p for p in sorted(RAFT.glob("*.py")) if p.name not in SKIPPED]
    todo = [(path.resolve(), *mutant) for path in files for mutant in mutants(path)]
    total = len(todo)
    if args.sample and args.sample < total:
        todo = random.Random(args.seed).sample(todo, args.sample)
    end = time.monotonic() + args.minutes * 60
    done, survivors = 0, []
    for path, words, source in todo:
        if time.monotonic() > end:
            break
        done += 1
        if done % 20 == 0:
            print(f"{done} of {len(todo)}, {len(survivors)} survive", file=sys.stderr, flush=True)
        if survives(path, source):
            survivors.append(words)
            print(f"[{done}] {words}", flush=True)
    killed = done - len(survivors)
    print(
        f"{killed} of {done} mutants noticed ({100 * killed / max(done, 1):.1f} %), {total} exist"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
