"""The simulated Ascend: stand-ins for CANN, on which MindSpore compiles graphs and selects kernels."""
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "ascend_simulation"
# Two operators, the second of which has no kernel for Ascend.
PROGRAM = """
import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.operations import NuclearNorm

ms.set_device("Ascend")
ms.set_context(mode=ms.GRAPH_MODE)


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm = NuclearNorm()

    def construct(self, x):
        return self.norm(ops.relu(x))


print(Network()(ms.Tensor(np.ones((4, 4), np.float32))))
"""


def module(name: str):
    spec = importlib.util.spec_from_file_location(f"ascend_simulation_{name}", TOOLS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    if not module("build").plugin_libraries() or not all(map(shutil.which, ("gcc", "g++", "nm", "readelf"))):
        pytest.skip("simulated Ascend: needs MindSpore's Linux wheel, gcc, g++ and binutils")
    folder = tmp_path_factory.mktemp("ascend")
    subprocess.run([sys.executable, str(TOOLS / "build.py"), str(folder)], check=True)
    return folder


def test_an_operator_without_a_kernel_for_ascend_is_found(stand_ins, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([str(TOOLS / "run.sh"), str(stand_ins), sys.executable, "program.py"], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, "MS_SUBMODULE_LOG_v": "{DEVICE:1}"})
    check = module("check")
    kernels = check.Kernels()
    for line in (done.stdout + done.stderr).splitlines():
        kernels.note(line)
    assert done.returncode == 0
    assert "ReLU" in kernels["aclnn"] and kernels[check.HOST] == {"NuclearNorm"}
    assert "HOST: NuclearNorm" in str(kernels)


def test_collectives_of_a_step_are_counted_once():
    """Graphs number their nodes from 0; what is reduced outside the step is AllReduce-op0, too."""
    check = module("check")
    kernels = check.Kernels()
    for number in (0, 0, 1, 2, 0):
        kernels.note(f"AddStreamIdByGroup] Set stream id by group 2 for node Default/AllReduce-op{number}, group: all")
    assert len(kernels.collectives) == 3


@pytest.mark.nightly
@pytest.mark.usefixtures("stand_ins")
def test_one_model_of_each_family_is_trained_evaluated_and_exported(tmp_path):
    models = "ssd300", "faster_rcnn_resnet50", "mask_rcnn_resnet50", "centernet_resnet50"
    done = subprocess.run([sys.executable, str(TOOLS / "check.py"), "--folder", str(tmp_path), "--models", *models],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert all(model in done.stdout for model in models) and "FAILED" not in done.stdout


@pytest.mark.nightly
@pytest.mark.usefixtures("stand_ins")
def test_a_rank_of_eight_reduces_its_gradients_in_four_parts_and_the_flags_in_a_fifth(tmp_path):
    done = subprocess.run([sys.executable, str(TOOLS / "check.py"), "--folder", str(tmp_path), "--models", "ssd300",
                           "--ranks", "8", "--steps", "train"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " GB | 5 | " in done.stdout
