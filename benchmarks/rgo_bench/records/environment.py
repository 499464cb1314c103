"""What a run ran on, without the names of machines, users or folders."""

import platform
from importlib.metadata import version
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe_environment(
    backend: str, *, device: str, threads: int, compiled: bool = False
) -> dict[str, str | int | bool]:
    """Return what the timings of a run depend on.

    The backend is a package, of which the version is stated; the device ``"cpu"`` or
    the name of a GPU. Whether steps were compiled is stated only if so.
    """
    packages = ("rgo", "numpy", "scipy", backend)
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "device": device,
        "threads": threads,
        **({"compiled": True} if compiled else {}),
    }


def _processor_name() -> str:
    # Python's own answer is empty or only the architecture on Linux.
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
