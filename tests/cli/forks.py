"""Runs programs of the project in forks of one process that has imported MindSpore and the project's modules.

The imports take three seconds of the processor, and the tests of this folder call more than a hundred programs. A fork
is as fresh as a new process: nothing but imports has happened in the one it comes from. Requests are lines of
standard input, {"command", "cwd", "environment", "out", "err"}; every answer is a line with the exit code.
"""
from __future__ import annotations

import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """The process, which is started by the first call; `close` ends it."""

    def __init__(self):
        self.process: Optional[subprocess.Popen] = None

    def run(self, command: list, cwd: Path) -> subprocess.CompletedProcess:
        """Call of a program, [path, "--key=value", ...], like subprocess.run with captured text."""
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, __file__], text=True, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request = {"command": list(map(str, command)), "cwd": str(cwd), "environment": dict(os.environ),
                       "out": str(out), "err": str(err)}
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(command, code, *(path.read_text(encoding="utf-8", errors="replace")
                                                                for path in (out, err)))

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


def become(request: dict) -> None:
    """Run the program in this process, as `python PATH ARGUMENTS` would."""
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, request["out"], os.O_WRONLY | os.O_CREAT),
                                (2, request["err"], os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(path, flags), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["command"]
    sys.path[:1] = [os.path.dirname(sys.argv[0]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_path(sys.argv[0], run_name="__main__")


def serve() -> None:
    # What takes the time. The project's own modules compute nothing when they are imported.
    import src.engine.build  # noqa: F401
    import src.evaluation.evaluate  # noqa: F401

    gc.freeze()     # else every fork would copy all objects when it looks for garbage at its end
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
