"""What a run ran on, without the names of machines, users or folders."""

import platform
from importlib.metadata import version
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe_environment(
    backend: str, *, device: str, threads: int, compiled: bool = False
) -> dict[str, str | int | bool]:
    """Return what the timings of a run depend on.

    Parameters
    ----------
    backend : str
        The package that trained: ``"torch"`` or ``"jax"``.
    device : str
        What it computed on, for instance ``"cpu"`` or the name of a GPU.
    threads : int
        The number of threads that it used.
    compiled : bool
        Whether training steps went through a compiler; stated only if so.

    Returns
    -------
    dict
        The versions of Python, of this library, of NumPy, SciPy and the backend; the
        platform, the processor, the device and the threads; "compiled" where they were.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If the backend is not installed.
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
