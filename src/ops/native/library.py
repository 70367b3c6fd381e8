"""The file of the native operators: how it is built, and where it lies."""
from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Callable, Optional

from src.files import open_input, read_file, write_file

SOURCES = Path(__file__).resolve().parent
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Wno-psabi")
BUILD_SECONDS = 120


class BuildError(Exception):
    """The library cannot be built here, or its self-check failed."""


def find() -> Optional[Path]:
    """The library that fits these sources, this compiler, processor and MindSpore; None where it is not built."""
    name = _name()
    if name is None:
        return None
    return next((path for folder in _folders() if (path := folder / f"{name}.so").is_file()), None)


def failure() -> str:
    """Why `find` finds nothing, and what to do."""
    if sys.platform != "linux":
        return "they are built on Linux only"
    name = _name()
    if name is None:
        return "no C++ compiler is installed; install g++ and run make native"
    for folder in _folders():
        if (folder / f"{name}.failed").is_file():
            return f"they were built and failed, see {folder / name}.failed"
    return "not built; make native builds them"


def build(check: Callable[[Path], None]) -> Path:
    """Compile the library, check it, and put it in its place. Processes that do so at the same time do not meet.

    check: raises BuildError if an operator of the library differs from MindSpore's. Raises BuildError.
    """
    name = _name()
    if name is None:
        raise BuildError(failure())
    folder = next((folder for folder in _folders() if _writable(folder)), None)
    if folder is None:
        raise BuildError(f"no folder can be written: {', '.join(map(str, _folders()))}")
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as room:
        made = Path(room, f"{name}.so")
        try:
            _compile(made)
            check(made)
        except BuildError as error:
            write_file(folder / f"{name}.failed", f"{error}\n")
            raise
        os.replace(made, folder / f"{name}.so")
    (folder / f"{name}.failed").unlink(missing_ok=True)
    return folder / f"{name}.so"


def _compile(target: Path) -> None:
    libraries = _mindspore_folder() / "lib"
    tuned = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    command = [_compiler(), *FLAGS, tuned, "-o", target, *sorted(SOURCES.glob("*.cc")),
               f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=BUILD_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the compiler does not run: {error}") from None
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")


def _folders() -> tuple[Path, Path]:
    """Where the library may lie: in the Python environment, or in the user's cache if the environment is read-only."""
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(sys.prefix, "var", "cache", "native_ops"), Path(own, "native_ops")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@functools.lru_cache(maxsize=1)
def _name() -> Optional[str]:
    """The file's name: a hash of all that the library depends on; None without a compiler."""
    if sys.platform != "linux" or _compiler() is None:
        return None
    sources = [path for path in sorted(SOURCES.iterdir()) if path.suffix in (".cc", ".h")]
    parts = [*map(read_file, sources), _compiler_version(), _processor(), metadata.version("mindspore").encode(),
             str(_mindspore_folder()).encode(), " ".join(FLAGS).encode()]
    return "native-" + hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:20]


def _compiler() -> Optional[str]:
    return next((path for name in (os.environ.get("CXX"), "g++", "c++", "clang++")
                 if name and (path := shutil.which(name))), None)


def _compiler_version() -> bytes:
    try:
        return subprocess.run([str(_compiler()), "--version"], capture_output=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def _processor() -> bytes:
    """What -march=native depends on: the instructions that the first core offers."""
    with open_input(Path("/proc/cpuinfo")) as file:     # read_file would believe its size, which is 0
        lines = file.read().split(b"\n\n")[0].splitlines()
    known = (b"vendor_id", b"cpu family", b"model", b"flags", b"Features", b"CPU part", b"CPU implementer")
    return platform.machine().encode() + b"\n".join(sorted(line for line in lines if line.startswith(known)))


def _mindspore_folder() -> Path:
    found = util.find_spec("mindspore")
    if found is None or found.origin is None:
        raise BuildError("MindSpore is not installed")
    return Path(found.origin).parent
