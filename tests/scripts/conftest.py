"""A shell in which python, msrun, mpirun and docker are stand-ins that write down how they were called."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ("old.ckpt", "old.yaml", "val.json", "net.onnx", "coco", "records", "hccl.json")
HANGS = 300  # seconds after which a script that still runs is taken to hang

STAND_IN = f"""#!{sys.executable}
import json, os, sys, time
if sys.argv[1].endswith("/tools/rank_table.py"):
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(dict(name=os.path.basename(sys.argv[0]), arguments=sys.argv[1:], environment=dict(os.environ),
                               affinity=sorted(os.sched_getaffinity(0)), pid=os.getpid())) + "\\n")
print("stand-in of rank", os.environ.get("RANK_ID"))
sys.stdout.flush()
behaviour = json.loads(os.environ.get("BEHAVIOUR", "{{}}")).get(os.environ.get("RANK_ID", ""), {{}})
time.sleep(behaviour.get("sleep", 0))
sys.exit(behaviour.get("exit", 0))
"""


class Shell:
    """Calls the launchers in the folder `cwd`; `calls` lists what they started, by rank.

    `files`: {name: absolute path} of what their arguments may name.
    """

    def __init__(self, cwd: Path):
        self.cwd = cwd
        programs = cwd / "programs"
        programs.mkdir()
        for name in ("python", "msrun", "mpirun", "docker"):
            (programs / name).write_text(STAND_IN)
            (programs / name).chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(cwd / "calls")}
        for name in ("RANK_TABLE_FILE", "RANK_SIZE", "RANK_ID", "DEVICE_ID", "HCCL_CONNECT_TIMEOUT", "MASTER_PORT"):
            self.environment.pop(name, None)
        for name in FILES:
            self.file(name) if "." in name else (cwd / name).mkdir()
        self.rank_table(2)
        self.files = {name: str(cwd / name) for name in FILES}

    def file(self, name: str, content: str = "") -> Path:
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def rank_table(self, devices: int) -> Path:
        """A rank table of one host whose devices are numbered from 4 on."""
        listed = [{"device_id": str(4 + rank), "device_ip": f"192.1.27.{rank}", "rank_id": str(rank)}
                  for rank in range(devices)]
        return self.file("hccl.json", json.dumps({"version": "1.0", "server_count": "1", "status": "completed",
                                                  "server_list": [{"server_id": "10.0.0.1", "device": listed}]}))

    def start(self, script: str, *arguments, behaviour: dict | None = None) -> subprocess.Popen:
        """behaviour: {rank, or "" without one: {"sleep": seconds, "exit": code}} of the stand-ins."""
        return subprocess.Popen(["bash", str(ROOT / "scripts" / script), *map(str, arguments)], cwd=self.cwd,
                                env={**self.environment, "BEHAVIOUR": json.dumps(behaviour or {})},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, script: str, *arguments, **options) -> tuple:
        """(exit code, output)"""
        process = self.start(script, *arguments, **options)
        output, _ = process.communicate(timeout=HANGS)
        return process.returncode, output

    @property
    def calls(self) -> list:
        path = Path(self.environment["CALLS"])
        lines = path.read_text().splitlines() if path.exists() else []
        return sorted(map(json.loads, lines), key=lambda call: call["environment"].get("RANK_ID", ""))

    def wait_for_calls(self, count: int) -> list:
        deadline = time.monotonic() + HANGS
        while len(self.calls) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(self.calls)} of {count} calls")
            time.sleep(0.1)
        return self.calls


@pytest.fixture()
def shell(tmp_path) -> Shell:
    return Shell(tmp_path)
