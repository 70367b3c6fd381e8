"""Keeps the terminal readable: output of MindSpore's C++ and Python parts goes to a log file."""
from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Optional

from src.errors import UsageError
from src.printable import printable_stream


@contextlib.contextmanager
def quiet_terminal(log_path: Path, verbose: bool = False):
    """Context manager: file descriptors 1 and 2 write to log_path, Python's own streams to the terminal.

    With `verbose` nothing changes. Imports MindSpore, because its logger keeps the first stream that it sees.
    A UsageError leaves the log as it was: what is refused changes nothing in the folder of an earlier run.
    """
    if verbose:
        yield
        return
    log_path.parent.mkdir(parents=True, exist_ok=True)
    length = log_path.stat().st_size if log_path.exists() else None
    os.environ.setdefault("MS_OM_PATH", str(log_path.parent.resolve()))  # a failed compilation writes its graphs there
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = [os.dup(descriptor) for descriptor in (1, 2)]
    streams, show = (sys.stdout, sys.stderr), warnings.showwarning
    with contextlib.ExitStack() as stack:
        log = printable_stream(stack.enter_context(open(log_path, "a", buffering=1, encoding="utf-8",
                                                        errors="replace")))
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            sys.stderr = log
            import mindspore

            mindspore.log.info("the logger takes the stream it is first used with")
            _move_log_handlers(streams[1], log)
            warnings.showwarning = lambda message, category, filename, line, *_: print(
                warnings.formatwarning(message, category, filename, line), file=log)
            sys.stdout, sys.stderr = (
                printable_stream(stack.enter_context(os.fdopen(os.dup(descriptor), "w", buffering=1, encoding="utf-8",
                                                               errors="replace"))) for descriptor in terminal)
            yield
        except UsageError:
            _cut_back(log_path, length)
            raise
        finally:
            (sys.stdout, sys.stderr), warnings.showwarning = streams, show
            _move_log_handlers(log, streams[1])
            for descriptor, output in zip((1, 2), terminal):
                os.dup2(output, descriptor)
                os.close(output)


def _cut_back(path: Path, length: Optional[int]) -> None:
    """Make a file as long as it was; None: it was not there."""
    with contextlib.suppress(OSError):
        if length is None:
            path.unlink()
        else:
            os.truncate(path, length)


def _move_log_handlers(before, after) -> None:
    """Make loggers that write to the stream `before` write to `after`."""
    for logger in list(logging.Logger.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.setStream(after)
