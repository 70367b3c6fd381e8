"""MindSpore Lite 2.0.0 converts the exported .onnx of every model and computes its numbers: `make lite`."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import recipe
from small_models import MODELS, TWO_STAGES

from src.command_line import load_config
from src.evaluation.model_file import exported_detector, read_model
from src.evaluation.predictor import onnx_runner
from src.export.comparison import TOLERANCE, ranked_difference

LITE_PYTHON = os.environ.get("LITE_PYTHON")
RUN_LITE = Path(__file__).resolve().with_name("run_lite.py")
CASES = {**MODELS, "mask_rcnn_resnet50": MODELS["mask_rcnn_resnet50"][:-1],     # one image at a time
         "faster_rcnn_resnet50 mmdet": (*TWO_STAGES, "--box_style=mmdet")}


@pytest.mark.skipif(not LITE_PYTHON, reason="MindSpore Lite is not tested here: `make lite` does, with Python 3.7")
@pytest.mark.parametrize("case", CASES)
def test_lite_computes_the_numbers_of_onnxruntime(exported_recipe, tmp_path, case):
    path = exported_recipe(case.split()[0], "onnx", *CASES[case])
    detector = exported_detector(load_config([f"--model_path={path}"], "predict"), read_model(path))
    array, geometry = detector.preprocess(recipe.image(90, 120, 1))
    inputs = [row[None] for row in (array, *detector.further_inputs(geometry))]
    wanted = onnx_runner(path).run(*inputs)

    np.savez(tmp_path / "inputs.npz", **{f"input_{number}": row for number, row in enumerate(inputs)})
    done = subprocess.run([LITE_PYTHON, RUN_LITE, path, tmp_path / "inputs.npz", tmp_path / "outputs.npz"],
                          capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with np.load(tmp_path / "outputs.npz") as arrays:
        found = [arrays[name] for name in detector.output_names]
    assert [output.shape for output in found] == [output.shape for output in wanted]
    if detector.ranked_by is not None:
        assert ranked_difference(wanted, found, detector.ranked_by) <= TOLERANCE
        return
    for have, want in zip(found, wanted):
        np.testing.assert_allclose(have, want, atol=TOLERANCE * max(1, np.abs(want).max()))
