"""scripts/install.sh, which `make` and the Dockerfile share."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Answers the question for MindSpore, and writes down what pip is asked to install.
STAND_IN = f"""#!{sys.executable}
import os, shutil, sys
if sys.argv[1] == "-c":
    print("MindSpore 2.7.1 is kept")
    sys.exit(int(os.environ["ABSENT"]))
if "--requirement" in sys.argv:
    shutil.copy(sys.argv[-1], os.environ["WANTED"])
"""


@pytest.mark.parametrize("absent", [0, 1])
def test_a_mindspore_of_the_image_is_kept(tmp_path, absent):
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "scripts/install.sh"), "requirements.txt", "requirements-dev.txt"], text=True,
        env={**os.environ, "PYTHON": str(tmp_path / "python"), "ABSENT": str(absent), "WANTED": str(tmp_path / "list")},
        capture_output=True)
    assert done.returncode == 0, done.stderr
    wanted = (tmp_path / "list").read_text()
    assert bool(re.search("^mindspore", wanted, re.M)) is bool(absent)
    assert "\nnumpy" in wanted and "\npytest" in wanted and "-r " not in wanted


def test_what_the_dockerfile_copies_and_runs_exists():
    text = (ROOT / "Dockerfile").read_text()
    copied = {name for line in re.findall("^COPY (.+)", text, re.M) for name in line.split()[:-1]}
    assert {"requirements.txt", "scripts/install.sh", "."} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert "RUN bash scripts/install.sh requirements.txt\n" in text
    assert text.index("RUN bash scripts/install.sh") > text.index("COPY scripts/install.sh")
    assert text.rstrip().endswith("\nUSER ${USER_NAME}"), "programs do not run as root"


@pytest.mark.nightly
def test_the_steps_of_the_dockerfile_in_a_clean_environment(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHON": str(python)}
    environment.update({name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))})
    subprocess.run(["bash", str(ROOT / "scripts/install.sh"), "requirements.txt"], env=environment, check=True)
    done = subprocess.run([str(python), "-c", "import train, eval, export, predict, mindspore_hub_conf"], cwd=ROOT,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
