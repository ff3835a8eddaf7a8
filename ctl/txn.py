"""`txn`: etcdctl's little language for transactions, read from standard input.

Three parts, each ended by an empty line: compares, requests on success, requests on failure.
"""

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from ..client import ops
from ..client.ops import Compare, Request
from . import commands, gofmt
from .commands import EXIT_INVALID_INPUT, CommandError, Run, bad_arguments
from .flags import HELP, Flag, FlagSet, UsageError
from .gofmt import GoError

_QUOTED = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
_SPACE, _OTHER = f"[{gofmt.SPACES}]", f"[^{gofmt.SPACES}]"
_COMPARE = re.compile(rf"{_SPACE}*({_QUOTED})(?:\){_SPACE}+({_OTHER}+)(?:{_SPACE}+({_QUOTED}))?)?")
# What \s is in Go's regular expressions.
_WORD = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|[^'"\t\n\f\r ][^\t\n\f\r ]*[^'"\t\n\f\r ]?""")
_RESULTS = {"=": 0, ">": 1, "<": 2, "!=": 3}
_TARGETS: dict[str, Callable[[bytes], ops.Target]] = {
    **dict.fromkeys(("ver", "version"), ops.version),
    **dict.fromkeys(("c", "create"), ops.create_revision),
    **dict.fromkeys(("m", "mod"), ops.mod_revision),
    **dict.fromkeys(("val", "value"), ops.value),
    "lease": ops.lease,
}

Parsed = TypeVar("Parsed")


def _invalid(text: str) -> CommandError:
    return CommandError(text, EXIT_INVALID_INPUT)


def run(run: Run) -> None:
    """`txn`."""
    if run.args:
        bad_arguments("txn command does not accept argument")
    printer = run.printer()
    with run.client() as client:
        compares = list(_part(run, "compares:", parse_compare))
        success = list(_part(run, "success requests (get, put, del):", parse_request))
        failure = list(_part(run, "failure requests (get, put, del):", parse_request))
        response = client.txn(compares, success, failure)
    printer.txn(response)


def _part(run: Run, prompt: str, parse: Callable[[str], Parsed]) -> Iterator[Parsed]:
    if run.flags["interactive"]:
        run.stdout.write(f"{prompt}\n".encode())
        run.stdout.flush()
    while True:
        line = run.stdin.readline()
        if not line.endswith(b"\n"):
            raise _invalid("EOF")
        text = os.fsdecode(line).strip(gofmt.SPACES)
        if not text:
            return
        yield parse(text)


def parse_compare(line: str) -> Compare:
    """`mod("key") > "0"`.

    Raises:
        CommandError: it is none.
    """
    target, parenthesis, rest = line.partition("(")
    if not parenthesis:
        raise _invalid(f"malformed comparison: {line}")
    match = _COMPARE.match(rest)
    key, operator, value = b"", "", b""
    scanned = False
    with suppress(GoError):  # as Go's Sscanf, which keeps what came before
        if match:
            key = gofmt.unquote(match[1])
            operator = match[2] or ""
            value = gofmt.unquote(match[3] or '""')
            scanned = match[3] is not None
    if not scanned:
        got = f"{target}({gofmt.quote(key)}) {operator} {gofmt.quote(value)}"
        raise _invalid(f"malformed comparison: {line}; got {got}")
    if target not in _TARGETS:
        raise _invalid(f"malformed comparison: {line} (unknown target {target})")
    if operator not in _RESULTS:
        raise _invalid(f"malformed comparison: {line} (unknown operator {operator})")
    operand: int | bytes = value
    if target not in ("val", "value"):
        operand = _number(line, os.fsdecode(value), 16 if target == "lease" else 10)
    return _TARGETS[target](key).compare(_RESULTS[operator], operand)


def _number(line: str, text: str, base: int) -> int:
    try:
        number = gofmt.parse_int(text, base)
    except GoError as error:
        raise _invalid(f"invalid txn compare request: {line}") from error
    if number < 0:
        raise _invalid(f"invalid txn compare request: {line}: it is never negative")
    return number


def split_words(line: str) -> list[str]:
    """Words, some of them in quotes (etcdctl's `Argify`).

    Raises:
        CommandError: an escape in double quotes that is none.
    """
    words = []
    for word in _WORD.findall(line):
        if word[0] == "'":
            words.append(word[1:-1])
        elif word[0] == '"':
            try:
                words.append(os.fsdecode(gofmt.unquote(word)))
            except GoError as error:
                raise _invalid(str(error)) from error
        else:
            words.append(word)
    return words


def parse_request(line: str) -> Request:
    """`put key value`, `get key` or `del key`, with the flags of those commands.

    Raises:
        CommandError: it is none.
    """
    words = split_words(line)
    if len(words) < 2:
        raise _invalid(f"invalid txn compare request: {line}")
    name, *rest = words
    try:
        if name == "put":
            flags, args = _flags(commands.PUT_FLAGS, rest)
            key, value, options = commands.put_call(flags, args, io.BytesIO())
            return ops.put(key, value, **options)
        if name == "get":
            key, range_options = commands.get_call(*_flags(commands.GET_FLAGS, rest))
            return ops.get(key, **range_options)
        if name == "del":
            key, delete_options = commands.delete_call(*_flags(commands.DEL_FLAGS, rest))
            return ops.delete(key, **delete_options)
    except UsageError as error:
        raise _invalid(f"invalid txn request: {line}") from error
    raise _invalid(f"invalid txn request: {line}")


def _flags(flags: tuple[Flag, ...], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    given, args = FlagSet((HELP, *flags)).parse(words)
    if given.get("help"):
        raise UsageError("help was asked for")
    return {flag.name: flag.default for flag in flags} | given, args
