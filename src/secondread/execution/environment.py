"""What the bytes of a result depend on besides its input: the same everywhere, or the work is refused."""

import platform
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "isal",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pyarrow",
    "pydicom",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
)


@cache
def environment() -> Mapping[str, str]:
    """Versions of this process's libraries, and a digest of this project's code."""
    code = sha256()
    folder = Path(__file__).resolve().parents[1]
    for path in sorted(folder.rglob("*.py")):
        code.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    found = {name: _version(name) for name in _PACKAGES}
    return {"secondread": code.hexdigest()[:12], "python": platform.python_version(), **found}


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Say how a worker's environment differs from what is wanted, and what to do; "" where it does not."""
    differing = [
        f"{name} {found.get(name)} instead of {value}" for name, value in wanted.items() if found.get(name) != value
    ]
    if not differing:
        return ""
    return (
        f"a worker on {platform.node()} has {', '.join(differing)}; install the same checkout and the same "
        "requirements.txt there"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
