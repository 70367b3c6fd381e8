"""preprocess.py and postprocess.py around a network that runs elsewhere: here onnxruntime, called by the test."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def around(cli, drawn, exported_recipe, tmp_path_factory) -> SimpleNamespace:
    """An exported model, and the inputs that preprocess.py wrote for it."""
    model = exported_recipe("ssd300", "onnx", "--img_shape=96,96", "--min_score=0.01")
    folder = tmp_path_factory.mktemp("around")
    data = {"coco_root": drawn.folder / "shapes", "model_path": model}
    done = cli.call("preprocess", folder, **data, result_path=folder / "inputs")
    return SimpleNamespace(model=model, folder=folder, data=data, done=done)


def run_network(around) -> Path:
    """What the application does: result files of all inputs."""
    results = around.folder / "result_Files"
    results.mkdir(exist_ok=True)
    session = onnxruntime.InferenceSession(str(around.model), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    sizes = json.loads((around.folder / "inputs" / "sizes.json").read_text())
    for name in sizes:
        image = np.fromfile(around.folder / "inputs" / "input0" / f"{name}.bin", np.float32).reshape(shape)
        outputs = session.run(None, {session.get_inputs()[0].name: image})
        for number, output in enumerate(outputs):
            output.tofile(results / f"{name}_{number}.bin")
    about = {"outputs": [{"name": "", "type": str(output.dtype), "shape": output.shape[1:]} for output in outputs],
             "pictures": {name: {**size, "orientation": 1} for name, size in sizes.items()}}
    (results / "outputs.json").write_text(json.dumps(about))
    return results


def test_results_are_measured_as_eval_does(cli, around):
    assert around.done.returncode == 0, around.done.stderr
    run_network(around)
    evaluated = cli.call("eval", around.folder, **around.data, result_path=around.folder / "eval", report=False)
    assert evaluated.returncode == 0, evaluated.stderr
    done = cli.call("postprocess", around.folder, **around.data)
    assert done.returncode == 0, done.stderr
    table = evaluated.stdout[evaluated.stdout.index(" Average"):evaluated.stdout.index("predictions:")]
    assert table in done.stdout
    found = (around.folder / "postprocess" / "predictions.json").read_text()
    assert found == (around.folder / "eval" / "predictions.json").read_text() and len(json.loads(found)) > 20
    assert (around.folder / "postprocess" / "report.html").is_file()


def test_a_missing_result_file_fails_by_name(cli, around):
    results = run_network(around)
    victim = sorted(results.glob("*_1.bin"))[0]
    victim.unlink()
    done = cli.call("postprocess", around.folder, **around.data)
    assert done.returncode == 1 and f"{victim.name} missing" in done.stderr


def test_inputs_of_an_earlier_call_are_not_mixed_with_new_ones(cli, around):
    done = cli.call("preprocess", around.folder, **around.data, preprocess_path=around.folder / "inputs")
    assert done.returncode == 2 and "input0 holds the inputs of an earlier call" in done.stderr


@pytest.mark.parametrize("command", ["preprocess", "postprocess"])
def test_a_checkpoint_is_refused(cli, tmp_path, command):
    (tmp_path / "a.ckpt").write_bytes(b"")
    done = cli.call(command, tmp_path, model_name="ssd300", model_path="a.ckpt")
    assert done.returncode == 2 and "give the .mindir or .onnx that was exported from it" in done.stderr


def test_postprocess_needs_no_mindspore(around):
    run_network(around)
    program = ("import sys, postprocess\n"
               "code = postprocess.main(sys.argv[1:])\n"
               "sys.exit('MindSpore was imported' if 'mindspore' in sys.modules else code)")
    flags = {**around.data, "result_path": around.folder / "result_Files"}
    done = subprocess.run([sys.executable, "-c", program, *(f"--{key}={value}" for key, value in flags.items())],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
