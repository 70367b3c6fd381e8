"""Jobs of ModelArts as the platform starts them, with a stand-in for its library moxing."""
from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from mindspore import Tensor

from src.checkpoint import save_weights
from src.data.shapes import CLASSES, draw_shapes

# s3://bucket/... is the folder that the environment names.
MOXING = """
import os, shutil
from pathlib import Path

class file:
    @staticmethod
    def copy_parallel(source, target):
        places = [Path(place.replace("s3://bucket", os.environ["BUCKET"])) for place in (source, target)]
        shutil.copytree(*places, dirs_exist_ok=True)
"""


@pytest.fixture()
def bucket(tmp_path, monkeypatch):
    """A bucket with a packed data set of eight pictures to train on and four to evaluate on."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "moxing.py").write_text(MOXING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    monkeypatch.setenv("BUCKET", str(tmp_path / "bucket"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    draw_shapes(tmp_path / "pack" / "shapes", train=8, val=4)
    (tmp_path / "bucket" / "data").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "bucket" / "data" / "shapes.zip", "w") as file:
        for path in sorted((tmp_path / "pack").rglob("*.*")):
            file.write(path, path.relative_to(tmp_path / "pack"))
    return tmp_path / "bucket"


@pytest.fixture()
def job(cli, bucket):
    """job(program, name, **flags): a program on an empty host, with its results in s3://bucket/<name>."""
    def run(program, name, **flags):
        host = bucket.parent / name
        host.mkdir()
        done = cli.call(program, host, enable_modelarts=True, data_url="s3://bucket/data", data_path=host / "data",
                        train_url=f"s3://bucket/{name}", output_path=host / "output", load_path=host / "load",
                        need_modelarts_dataset_unzip=True, modelarts_dataset_unzip_name="shapes", coco_root="shapes",
                        **flags)
        shutil.rmtree(host)
        return done

    return run


def settings(drawn) -> dict:
    return {key: value for key, value in drawn.flags.items() if key not in ("coco_root", "mindrecord_dir")}


def test_a_job_that_fails_brings_out_what_it_has_made(drawn, bucket, job):
    other = bucket.parent / "other.ckpt"
    save_weights(other, {"of.another.network": Tensor(np.zeros(1, np.float32))}, "ssd300", CLASSES)
    failed = job("train", "failed", **settings(drawn), mindrecord_dir="records", pre_trained=other)
    assert failed.returncode == 1 and "of.another.network" in failed.stderr
    assert (bucket / "failed" / "audit.json").exists() and (bucket / "failed" / "config.yaml").exists()


@pytest.mark.nightly
def test_train_evaluate_and_export(drawn, bucket, job):
    trained = job("train", "trained", **settings(drawn), mindrecord_dir="records", train_steps=1)
    assert trained.returncode == 0, trained.stderr
    (checkpoint,) = (bucket / "trained" / "ckpt_0").glob("*.ckpt")
    assert (bucket / "trained" / "curves.png").exists() and not (bucket / "trained" / "records").exists()

    flags = {"config_path": drawn.flags["config_path"], "img_shape": "96,96",
             "checkpoint_url": "s3://bucket/trained/ckpt_0", "checkpoint_file_path": checkpoint.name}
    evaluated = job("eval", "evaluated", **flags)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "mAP: " in evaluated.stdout and (bucket / "evaluated" / "report.html").exists()

    exported = job("export", "exported", **flags, file_name="./ssd", file_format="MINDIR")
    assert exported.returncode == 0, exported.stderr
    assert (bucket / "exported" / "ssd.mindir").exists() and (bucket / "exported" / "ssd.json").exists()
