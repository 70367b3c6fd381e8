"""A detector that TensorFlow trained on COCO, through every engine: the published weights, 70 images of val2017."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_tensorflow.yaml"
IMAGES = SHARED / "data" / "coco_subset"
# TensorFlow's own on the same images: AP, at IoU 0.5 and at 0.75.
THEIRS = (0.319, 0.479, 0.339)

pytestmark = pytest.mark.skipif(not (SHARED / "weights").is_dir() or not IMAGES.is_dir(),
                                reason="needs ../shared/weights and ../shared/data/coco_subset")


@pytest.fixture(scope="module")
def checkpoint(cli, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    done = cli.call("convert_checkpoint", folder, ckpt_file=SHARED / "weights" / "ssdlite_mobilenet_v2_coco",
                    config_path=CONFIG, output="ssd300.ckpt")
    assert done.returncode == 0, done.stderr
    assert "detector of tensorflow" in done.stdout
    return folder / "ssd300.ckpt"


@pytest.fixture(scope="module")
def exported(cli, checkpoint):
    """exported("onnx" | "mindir") -> path of the exported model"""
    def export(ending: str) -> Path:
        path = checkpoint.with_name(f"ssd.{ending}")
        if not path.exists():
            done = cli.call("export", checkpoint.parent, config_path=CONFIG, model_path=checkpoint,
                            file_format=ending.upper(), result_path=checkpoint.parent)
            assert done.returncode == 0, done.stderr
        return path

    return export


def check_accuracy(done) -> None:
    assert done.returncode == 0, done.stderr
    found = [float(value) for value in re.findall(r"area= *all \| maxDets=100 \] = (\d\.\d+)", done.stdout)]
    assert found[:3] == pytest.approx(THEIRS, abs=0.002)


def test_the_checkpoint_has_tensorflow_s_accuracy(cli, checkpoint, tmp_path):
    check_accuracy(cli.call("eval", tmp_path, config_path=CONFIG, model_path=checkpoint, coco_root=IMAGES,
                            report=False))


@pytest.mark.nightly
@pytest.mark.parametrize("ending", ["onnx", "mindir"])
def test_so_has_the_exported_model(cli, exported, tmp_path, ending):
    check_accuracy(cli.call("eval", tmp_path, model_path=exported(ending), coco_root=IMAGES, report=False))


@pytest.mark.nightly
@pytest.mark.parametrize("engine, ending", [("openvino", "onnx"), ("mindspore", "mindir")])
def test_so_has_the_application(cli, exported, application, tmp_path, engine, ending):
    if engine not in application.engines:
        pytest.skip(f"the engine {engine} is not tested: its package is not installed")
    done = application(tmp_path, mindir_path=exported(ending), dataset_path=IMAGES / "val2017", engine=engine)
    assert done.returncode == 0, done.stderr
    check_accuracy(cli.call("postprocess", tmp_path, model_path=exported(ending), coco_root=IMAGES, report=False))
