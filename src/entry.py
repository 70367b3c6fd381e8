"""Ends the programs with one clear message and an exit code."""
from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
import traceback
from pathlib import Path

from src.errors import ProjectError
from src.printable import printable_stream, printable_terminal

PROJECT_ROOT = Path(__file__).resolve().parents[1]
TRACE_NAME = "error.log"

_trace_folder = None


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends the program on the same clean path as Ctrl-C."""


def keep_traces_in(folder: Path) -> None:
    """Write the stack trace of a later failure into `folder` (the run folder) as error.log."""
    global _trace_folder
    _trace_folder = folder


@printable_terminal()
def run(main) -> int:
    """Call `main()` and return the exit code.

    0 done (or what `main` returns), the error's own code for a ProjectError (2 = wrong use), 1 for anything else,
    130 after Ctrl-C, 143 after SIGTERM.
    """
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except ProjectError as error:
        return _end(f"error: {error}", error.exit_code, error)
    except Terminated:
        return _end("stopped by SIGTERM; what was saved before is complete", 143)
    except KeyboardInterrupt:
        return _end("stopped by Ctrl-C; what was saved before is complete", 130)
    except BrokenPipeError:
        # The reader of our output has left (`... | head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        return _end(f"error: the Python package '{error.name}' is not installed; "
                    "install the project's requirements: pip install -r requirements.txt", 1, error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            place = error.filename or "while writing"
            return _end(f"error: no space left on the disk ({place}); what was saved before is complete: "
                        "free some space and run again", 1, error)
        return _unexpected(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _on_sigterm(_signal, _frame):
    raise Terminated


def _verbose() -> bool:
    return any(argument.lower() in ("--verbose", "--verbose=true") for argument in sys.argv)


def _end(message: str, code: int, error: BaseException | None = None) -> int:
    if error is not None and _verbose():
        traceback.print_exception(type(error), error, error.__traceback__)
    print(message, file=sys.stderr)
    return code


def _unexpected(error: Exception) -> int:
    """A defect of the program: type, message and place; the full trace in the run folder or with --verbose."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__)
           if PROJECT_ROOT in Path(frame.filename).parents]
    place = f" at {Path(own[-1].filename).relative_to(PROJECT_ROOT)}:{own[-1].lineno}" if own else ""
    lines = str(error).strip().splitlines()[:5]
    # MindSpore puts its C++ stack below the cause, under a ruler.
    message = "\n".join(itertools.takewhile(lambda line: not line.startswith("-----"), lines)).strip()
    return _end(f"error: {type(error).__name__}{place}: {message}\n{_keep_trace(error)}", 1, error)


def _keep_trace(error: Exception) -> str:
    """Where the rest is to be found, in words."""
    if _trace_folder is not None:
        path = Path(_trace_folder) / TRACE_NAME
        try:
            with path.open("a", encoding="utf-8") as file:
                traceback.print_exception(type(error), error, error.__traceback__, file=printable_stream(file))
            return f"full stack trace: {path}"
        except OSError:
            pass    # a second failure must not hide the first; --verbose still shows it
    return "for the full stack trace run again with --verbose"
