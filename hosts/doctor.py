"""`sampan doctor`: say what is wrong with a stopped member's data directory, and what helps."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..actors.quota import QUOTA_BYTES_DEFAULT
from ..config import model, streams
from ..config.model import ConfigError
from ..storage.data_dir import held
from ..storage.errors import DataDirAccessError, DataDirError, DataDirInUseError
from .diagnosis import BAD, OK, Finding, Wanted, diagnose, is_data_dir

EXIT_BAD, EXIT_NOT_INSPECTED = 1, 2


def parser() -> argparse.ArgumentParser:
    """Of `sampan doctor`."""
    made = argparse.ArgumentParser(
        prog="sampan doctor",
        allow_abbrev=False,
        description="Look at the data directory of a member that is stopped, and say what is wrong "
        "with it and what to do. Reads only: nothing in it changes.",
        epilog="Exit code: 0 all is well, 1 something is bad, 2 it cannot be inspected.",
    )
    made.add_argument(
        "data_dir", type=Path, metavar="DATA_DIR", help="the member's own: data_dir/NAME"
    )
    made.add_argument(
        "--config", type=Path, metavar="FILE",
        help="the cluster: whether this is where its member has its data, and its quota",
    )  # fmt: skip
    made.add_argument("--deep", action="store_true", help="read all data, and hash the keys")
    made.add_argument(
        "-w", "--write-out", choices=("simple", "json"), default="simple", help="lines, or JSON"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = parser().parse_args(argv)
    path = arguments.data_dir.absolute()
    try:
        wanted = _wanted(arguments)
        _check(path)
        with held(path) as locked:
            findings = list(diagnose(path, wanted))
    except DataDirInUseError as error:
        return _give_up(f"{error}; stop it first, or ask it: `sampanctl endpoint status`")
    except (ConfigError, DataDirError) as error:
        return _give_up(str(error))
    except OSError as error:
        return _give_up(f"{path} cannot be inspected: {error}")
    if not locked:
        findings.append(Finding("warn", "lock", "there is no file LOCK: is this a copy?"))
    is_bad = any(finding.level == BAD for finding in findings)
    try:
        print(_shown(path, findings, arguments.write_out), flush=True)
    except OSError as error:
        streams.give_up(sys.stdout)
        return _give_up(str(error.strerror))
    return EXIT_BAD if is_bad else 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    if arguments.config is None:
        return Wanted(QUOTA_BYTES_DEFAULT, deep=arguments.deep)
    values = model.load(arguments.config) | model.from_environment()
    config = model.build(values, str(arguments.config))
    return Wanted(config.quota_bytes or QUOTA_BYTES_DEFAULT, config, arguments.deep)


def _check(path: Path) -> None:
    """Raises DataDirAccessError when there is nothing to look at."""
    if path.is_symlink() or not path.is_dir():
        raise DataDirAccessError(f"{path} is not a directory; name a member's data directory")
    if is_data_dir(path):
        return
    inside = [str(child) for child in sorted(path.iterdir()) if is_data_dir(child)]
    hint = f"; name one of those in it: {', '.join(inside)}" if inside else ""
    raise DataDirAccessError(f"{path} is no member's data directory{hint}")


def _shown(path: Path, findings: Sequence[Finding], form: str) -> str:
    worst = sum(finding.level == BAD for finding in findings)
    if form == "json":
        listed = [finding._asdict() for finding in findings]
        return json.dumps({"data_dir": str(path), "well": not worst, "findings": listed})
    lines = []
    told = ""
    for level, about, text, do, _ in findings:
        lines.append(f"{level:<5} {about:<14} {text}")
        if do:
            lines.append(f"{'':<20} do: {do if do != told else 'the same'}")
            told = do
    warned = sum(finding.level not in (OK, BAD) for finding in findings)
    lines.append(f"{worst} bad, {warned} to know of" if worst or warned else "all is well")
    return "\n".join(lines)


def _give_up(why: str) -> int:
    print(f"sampan doctor: {why}", file=sys.stderr)
    return EXIT_NOT_INSPECTED
