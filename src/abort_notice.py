"""Says which file was being read when a library ends the process.

MindSpore's C++ code ends the process on some damaged files, for example on a wrong length in a MindRecord shard, which
no Python code can catch. A small second process prints the message then: Python's faulthandler writes into its pipe.
"""
from __future__ import annotations

import contextlib
import faulthandler
import os
import subprocess
import sys
from typing import IO, Iterator, Optional

# Reads lines: "+message" begins to hold, "-" ends it; faulthandler's first line says how the process ended.
WATCHER = """
import sys
message = fault = b""
for line in sys.stdin.buffer:
    if line[:1] in b"+-":
        message = line[1:].strip()
    elif line.startswith(b"Fatal Python error: ") and message and not fault:
        fault = line.split(b": ", 1)[1].strip()
        sys.stderr.buffer.write(b"error: this process was ended (" + fault + b") while " + message + b"\\n")
        sys.stderr.flush()
"""

_pipe: Optional[IO[bytes]] = None
_owner = 0


@contextlib.contextmanager
def named_if_aborted(doing: str, advice: str) -> Iterator[None]:
    """Context manager: if the process is ended by a fault within, the terminal says so.

    doing: what is done with which file, "MindSpore read FILE". advice: what to do if the file is damaged.
    """
    pipe = _watched()
    if pipe is None:
        yield
        return
    text = " ".join(f"{doing}; the file may be damaged: {advice}".split())
    with contextlib.suppress(OSError):
        pipe.write(b"+" + text.encode("utf-8", "backslashreplace") + b"\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            pipe.write(b"-\n")


def _watched() -> Optional[IO[bytes]]:
    """The pipe to the second process, which is started when it is first needed; None where it cannot be."""
    global _pipe, _owner
    if _owner == os.getpid():
        return _pipe
    if _owner == 0 and faulthandler.is_enabled():   # whoever did that wants the trace where it was told to go
        return None
    _owner, _pipe = os.getpid(), None   # a forked process has the pipe of its parent
    try:
        # In a session of its own, so that Ctrl-C does not end it before this process.
        watcher = subprocess.Popen([sys.executable, "-I", "-S", "-c", WATCHER], stdin=subprocess.PIPE, bufsize=0,
                                   stdout=subprocess.DEVNULL, stderr=_terminal(), start_new_session=True)
        watcher.returncode = 0      # not waited for: it ends with this process
        _pipe = watcher.stdin
        assert _pipe is not None
        faulthandler.enable(_pipe, all_threads=False)
    except OSError:
        _pipe = None
    return _pipe


def _terminal() -> Optional[int]:
    """Where messages go, which is not descriptor 2 while MindSpore writes there."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
