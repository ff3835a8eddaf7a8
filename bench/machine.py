"""What a measurement's reader must know of the machine, without its name or anyone's paths."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

_GIB = 1 << 30
_VOLATILE = ("tmpfs", "ramfs")


def _first_match(path: str, prefix: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(prefix))
    return next(found, "")


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return _first_match("/proc/cpuinfo", "model name") or platform.processor() or "unknown"


def file_system(directory: Path) -> str:
    """The type of file system that holds a directory; "unknown" where the system has no table."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    resolved = directory.resolve()
    for mount in mounts:
        _, point, type_, *_ = mount.split(" ")
        if resolved.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, type_
    return kind


def is_volatile(directory: Path) -> bool:
    """Whether what is fsynced there is lost with the power all the same."""
    return file_system(directory) in _VOLATILE


def package_version(name: str) -> str:
    """The installed version of a package, "not installed" without."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe_machine(directory: Path) -> dict[str, str]:
    """Processor, memory, kernel, versions, and the file system under `directory`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    packages = ("sampan", "pyzmq", "msgpack", "rocksdict", "uvloop")
    return {
        "cpu": f"{cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system": file_system(directory),
        "load average": " ".join(f"{each:.1f}" for each in os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {package_version(name)}" for name in packages),
    }
