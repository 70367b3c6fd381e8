"""CenterNet from training to evaluated exports, with the commands as users call them, on a few drawn pictures."""
from __future__ import annotations

import json
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

STEPS = 20
SMALL = {"model_name": "centernet_resnet50", "input_res_train": "128,128", "input_res_test": "128,128",
         "keep_res": False}
LEARN_BY_HEART = {"batch_size": 4, "train_steps": STEPS, "lr": 0.001, "warmup_steps": 5, "rand_crop": False, "shift": 0,
                  "scale": 0, "flip_prob": 0, "color_aug": False}


def passed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def data(drawn) -> dict:
    return {key: value for key, value in drawn.flags.items() if key not in ("config_path", "img_shape")}


@pytest.fixture(scope="module")
def trained(cli, data, tmp_path_factory) -> SimpleNamespace:
    """A run with the deformable up-sampling; `run`: its folder, `checkpoint`: its last."""
    run = tmp_path_factory.mktemp("centernet") / "run"
    passed(cli.call("train", run.parent, **{**data, **SMALL, **LEARN_BY_HEART}, output_path=run))
    (checkpoint,) = (run / "ckpt_0").glob("*.ckpt")
    return SimpleNamespace(run=run, checkpoint=checkpoint, folder=run.parent)


@pytest.fixture(scope="module")
def export(cli, trained):
    """export("onnx" | "mindir") -> the run's checkpoint as a file of that kind."""
    @cache
    def call(ending: str) -> Path:
        folder = trained.folder / "export"
        passed(cli.call("export", trained.folder, model_path=trained.checkpoint, result_path=folder,
                        file_format=ending.upper()))
        return folder / f"CenterNet_ObjectDetection.{ending}"

    return call


@pytest.fixture(scope="module")
def of_the_checkpoint(cli, trained, data) -> tuple:
    """(mAP, detections) of the run's checkpoint."""
    ap, found = evaluated(cli, trained.folder, trained.checkpoint, data)
    return float(ap), rows(found)


def evaluated(cli, folder: Path, model: Path, data: dict, **flags) -> tuple:
    """(mAP that was printed, predictions) of a model file."""
    results = Path(tempfile.mkdtemp(dir=folder))
    done = passed(cli.call("eval", folder, model_path=model, coco_root=data["coco_root"], report=False,
                           result_path=results, **flags))
    found = json.loads((results / "predictions.json").read_text(encoding="utf-8"))
    return re.search(r"^mAP: (\S+)$", done.stdout, re.MULTILINE)[1], found


def rows(predictions: list) -> np.ndarray:
    table = np.array([[row["image_id"], row["category_id"], row["score"], *row["bbox"]] for row in predictions])
    return table[np.lexsort([table[:, 3].round(1), -table[:, 2].round(3), table[:, 1], table[:, 0]])]


@pytest.mark.nightly
def test_the_loss_falls(trained):
    lines = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert {"hm_loss", "wh_loss", "off_loss"} <= set(lines[0])


@pytest.mark.nightly
def test_mindrecord_files_have_the_zoo_s_names(trained, data):
    assert (Path(data["mindrecord_dir"]) / "coco_det.train.mind").is_file()
    assert re.fullmatch(r"checkpoint_centernet-\d+_20\.ckpt", trained.checkpoint.name)


ENDINGS = ["onnx", "mindir"]


@pytest.mark.nightly
@pytest.mark.parametrize("ending", ENDINGS)
def test_exported_files_have_one_output_of_a_fixed_shape(export, ending):
    about = json.loads(export(ending).with_suffix(".json").read_text(encoding="utf-8"))
    assert about["outputs"] == [{"name": "detections", "type": "float32", "shape": [1, 100, 6]}]
    assert about["files"][ending.upper()]["largest_difference"] < 1e-4


@pytest.mark.nightly
@pytest.mark.parametrize("ending", ENDINGS)
def test_exported_files_detect_what_the_checkpoint_detects(cli, export, of_the_checkpoint, data, tmp_path, ending):
    ap, found = evaluated(cli, tmp_path, export(ending), data)
    wanted_ap, wanted = of_the_checkpoint
    assert len(wanted) > 100 and float(ap) == pytest.approx(wanted_ap, abs=1e-4)
    np.testing.assert_allclose(rows(found), wanted, atol=2e-2)


@pytest.mark.nightly
def test_pictures_of_the_evaluation(cli, export, data, tmp_path):
    evaluated(cli, tmp_path, export("onnx"), data, visual_image=True)
    pictures = {path.stem for path in Path(data["coco_root"]).glob("val2017/*")}
    for name in ("gt_image", "pred_image"):
        assert {path.stem for path in (tmp_path / "results" / name).iterdir()} == pictures


@pytest.mark.nightly
def test_a_test_set_without_annotations_is_predicted_only(cli, export, data, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(Path(data["coco_root"]) / "val2017", root / "test2017")
    annotations = json.loads((Path(data["coco_root"]) / "annotations" / "instances_val2017.json").read_text())
    (root / "annotations").mkdir()
    del annotations["annotations"]
    (root / "annotations" / "image_info_test2017.json").write_text(json.dumps(annotations))
    done = passed(cli.call("eval", tmp_path, model_path=export("onnx"), run_mode="test", data_dir=root,
                           result_path=tmp_path / "results",
                           val_data_type="test2017", instances_set="annotations/image_info_{}.json"))
    assert "no image has an annotation, so nothing is measured" in done.stdout and "mAP" not in done.stdout
    assert len(json.loads((tmp_path / "results" / "predictions.json").read_text())) > 100
