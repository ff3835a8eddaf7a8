"""Mutation testing of the raft core: change one thing at a time and see whether a test notices.

    python tests/raft/mutants.py [--sample N] [--seed S] [--again] [FILE...]

The tests are collected once, and run once to see which of them execute which lines. Then every
mutant gets a forked child that puts the changed code into the functions it belongs to and runs the
tests that execute the changed line, the most promising first, until one fails. What is executed
while the modules are imported cannot be changed like that: such a mutant gets a child that imports
everything anew from the changed source.

Mutants that were noticed are kept in `mutants/`, so that a run can be stopped and continued, and
only changed modules are done again (`--again`: everything). Survivors are tried each time: there
may be a test now. They are printed as file:line and the change.
"""

import argparse
import ast
import contextlib
import copy
import gc
import hashlib
import importlib.machinery
import importlib.util
import os
import random
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

HERE = Path(__file__).parent
RAFT = HERE.parent.parent / "raft"
STATE = RAFT.parent / "mutants" / "noticed.txt"
SKIPPED = {"__init__.py"}
SECONDS_MAX = 30  # of CPU time for the tests of one mutant that is imported anew
TEST_SECONDS_MAX = 2  # of CPU time for one test, besides ten times what it takes otherwise
MEMORY_MAX = 2**30
OPTIONS = [
    "-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "--timeout=0",
    f"--ignore={HERE / 'test_stateful.py'}",  # as the simulation: for what nobody thought of
]  # fmt: skip

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


@dataclass
class Mutant:
    """A changed syntax tree: `tree()` gives it, and must not be kept."""

    path: Path
    key: str  # names the mutant as long as its file stays the same
    words: str
    lines: range
    function: ast.AST | None  # the outermost one around the change; None if import executes it
    slot: tuple[ast.AST, str, int | None, ast.AST, ast.AST]
    root: ast.Module

    @contextlib.contextmanager
    def tree(self) -> Iterator[ast.Module]:
        parent, name, position, before, after = self.slot
        place(parent, name, position, after)
        yield ast.fix_missing_locations(self.root)
        place(parent, name, position, before)


def place(parent: ast.AST, name: str, position: int | None, node: ast.AST) -> None:
    if position is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[position] = node


def walk(node: ast.AST, function: ast.AST | None = None) -> Iterator[tuple]:
    """(parent, field, position, child, outermost function around it) of what may be mutated."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for position, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or is_log_line(child):
                continue
            inside = function
            if function is None and isinstance(node, ast.FunctionDef) and name == "body":
                inside = node  # not its defaults: they are evaluated where it is defined
            yield node, name, position, child, inside
            yield from walk(child, inside)


def mutants(path: Path) -> list[Mutant]:
    """Every mutant of a file."""
    source = path.read_text(encoding="utf8")
    root = ast.parse(source)
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    found: list[Mutant] = []
    for parent, name, position, child, function in list(walk(root)):
        line = getattr(child, "lineno", 0)
        for change, other in replacements(child):
            ast.copy_location(other, child)
            words = f"{path.name}:{line}: {change}: {ast.unparse(child)[:60]!r}"
            found.append(
                Mutant(
                    path, f"{path.name} {digest} {len(found)}", words,
                    range(line, getattr(child, "end_lineno", line) + 1), function,
                    (parent, name, position, child, other), root,
                )
            )  # fmt: skip
    return found


class Results:
    """Which mutants were noticed, on disk at once; and which not."""

    def __init__(self, again: bool) -> None:
        STATE.parent.mkdir(exist_ok=True)
        if again:
            STATE.unlink(missing_ok=True)
        self.noticed = set(STATE.read_text().splitlines()) if STATE.exists() else set()

    def add(self, mutant: Mutant, noticed: bool) -> None:
        if noticed:
            self.noticed.add(mutant.key)
            with STATE.open("a") as file:
                file.write(mutant.key + "\n")
        else:
            print(f"survives: {mutant.words}", flush=True)


def noticed_in_child(action) -> int | None:
    """Fork and call `action`: what it returns, 0 for "nothing noticed"; None if it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = action()
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None


# --- functions: the code is put into the running program


class Runner:
    """A pytest plugin that runs mutants in place of the tests."""

    def __init__(self, todo: list[Mutant], results: Results) -> None:
        self.todo = todo
        self.results = results
        self.left: list[Mutant] = []  # for the other way

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        self.seconds: dict[str, float] = {}
        self.by_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._run_all_once()
        self.functions: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType):
                code = thing.__code__
                self.functions[code.co_filename, code.co_qualname, code.co_firstlineno].append(
                    thing
                )
        gc.freeze()
        self.kills: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for done, mutant in enumerate(self.todo, 1):
            self._try(mutant)
            if done % 100 == 0:
                print(f"{done} of {len(self.todo)}", file=sys.stderr, flush=True)
        return True

    def _run_all_once(self) -> None:
        recorder = coverage.Coverage(data_file=None, include=[f"{RAFT}/*"])
        for item in self.items:
            recorder.start()
            recorder.switch_context(item.nodeid)
            start = time.process_time()
            reports = runtestprotocol(item, log=False, nextitem=None)
            self.seconds[item.nodeid] = time.process_time() - start
            recorder.stop()
            if any(report.failed for report in reports):
                raise SystemExit(f"{item.nodeid} fails without any mutant")
        data = recorder.get_data()
        for path in data.measured_files():
            for line, contexts in data.contexts_by_lineno(path).items():
                self.by_line[path, line] |= {context for context in contexts if context}

    def _try(self, mutant: Mutant) -> None:
        path = str(mutant.path)
        names = set().union(*(self.by_line.get((path, line), set()) for line in mutant.lines))
        if mutant.function is None or not names:
            self.left.append(mutant)
            return
        kills = self.kills[path, mutant.function.lineno]
        tests = [item for item in self.items if item.nodeid in names]
        tests.sort(key=lambda item: (-kills[item.nodeid], self.seconds[item.nodeid]))
        changes = list(self._changes(mutant))
        if not changes or any(
            len(f.__code__.co_freevars) != len(code.co_freevars) for f, code in changes
        ):
            self.left.append(mutant)
            return
        read, write = os.pipe()
        noticed = noticed_in_child(lambda: self._child(changes, tests, write))
        os.close(write)
        for name in os.read(read, 10_000).decode().split("\n")[:-1]:
            kills[name] += 1
        os.close(read)
        self.results.add(mutant, noticed != 0)

    def _changes(self, mutant: Mutant) -> Iterator[tuple[FunctionType, CodeType]]:
        """Functions and the changed code that each of them gets."""
        with mutant.tree() as tree:
            module = compile(tree, str(mutant.path), "exec")
        decorators = [node.lineno for node in mutant.function.decorator_list]
        within = range(min(decorators, default=mutant.function.lineno), mutant.lines.stop)
        codes = [module]
        for code in codes:
            codes += [const for const in code.co_consts if isinstance(const, CodeType)]
            if code.co_firstlineno in within:
                key = (code.co_filename, code.co_qualname, code.co_firstlineno)
                yield from ((function, code) for function in self.functions[key])

    def _child(self, changes, tests: list[pytest.Item], answer: int) -> int:
        for function, code in changes:
            function.__code__ = code
        for item in tests:
            signal.setitimer(  # its signal kills: the test hangs, or nearly
                signal.ITIMER_PROF, TEST_SECONDS_MAX + 10 * self.seconds[item.nodeid]
            )
            if any(r.failed for r in runtestprotocol(item, log=False, nextitem=None)):
                os.write(answer, f"{item.nodeid}\n".encode())
                return 1
        return 0


def in_functions(todo: list[Mutant], results: Results) -> list[Mutant]:
    """Try mutants in a child of its own, so that nothing is imported here; gives what is left."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            runner = Runner(todo, results)
            code = int(pytest.main([*OPTIONS, "--capture=no", str(HERE)], plugins=[runner]))
            os.write(write, "\n".join(mutant.key for mutant in runner.left).encode())
        finally:
            os._exit(code)
    os.close(write)
    with open(read, "rb") as answer:
        left = set(answer.read().decode().split("\n"))
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("the tests fail, or the run was stopped")
    return [mutant for mutant in todo if mutant.key in left]


# --- everything else: the module is imported from the changed source


class Replace(importlib.machinery.SourceFileLoader):
    """Loads one module from changed code."""

    code: CodeType

    def get_code(self, fullname: str):
        return self.code


def install(path: Path, code: CodeType) -> None:
    """Make the next import of the module give `code`."""
    name = f"sampan.raft.{path.stem}"

    class Finder:
        @staticmethod
        def find_spec(fullname, _path=None, _target=None):
            if fullname != name:
                return None
            loader = Replace(name, str(path))
            loader.code = code
            return importlib.util.spec_from_loader(name, loader)

    sys.meta_path.insert(0, Finder)


def import_and_test(mutant: Mutant) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX))
    with mutant.tree() as tree:
        install(mutant.path, compile(tree, str(mutant.path), "exec"))
    return int(pytest.main([*OPTIONS, str(HERE)]) != 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--sample", type=int, help="so many mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    os.environ["RAFT_SEEDS"] = "0:2"
    os.chdir(RAFT.parent)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")
    files = args.files or [p for p in sorted(RAFT.glob("*.py")) if p.name not in SKIPPED]
    everything = [mutant for path in files for mutant in mutants(path.resolve())]
    total = len(everything)
    if args.sample and args.sample < total:
        everything = random.Random(args.seed).sample(everything, args.sample)
    results = Results(args.again)
    todo = [mutant for mutant in everything if mutant.key not in results.noticed]
    for done, mutant in enumerate(left := in_functions(todo, results), 1):
        results.add(mutant, noticed_in_child(lambda m=mutant: import_and_test(m)) != 0)
        if done % 20 == 0:
            print(f"{done} of {len(left)} to import anew", file=sys.stderr, flush=True)
    results = Results(again=False)
    noticed = sum(mutant.key in results.noticed for mutant in everything)
    share = 100 * noticed / max(len(everything), 1)
    print(f"{noticed} of {len(everything)} mutants noticed ({share:.1f} %), {total} exist")
    return 0


if __name__ == "__main__":
    sys.exit(main())
