"""Files with other bytes than were written, through the real programs in processes of their own.

Whatever the bytes: the program ends by itself, with the result of the whole file or with a message that names the file,
also where a library ends the process. MUTATIONS=100 pytest -m nightly tests/cli/test_mutated_files.py tries more.
"""
from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.shapes import draw_shapes

MUTATIONS = int(os.environ.get("MUTATIONS", 3))     # of each kind of file
ROOT = Path(__file__).resolve().parents[2]


def mutated(content: bytes, seed: int) -> bytes:
    """The content cut off, with a piece left out or repeated, or with other bytes; most often at its ends, where many
    formats have their structure."""
    rng, changed = random.Random(seed), bytearray(content)
    kind = rng.choice(("cut", "hole", "twice", "bytes", "bytes", "bytes", "bytes"))
    start, length = rng.randrange(len(content)), rng.randrange(1, 64)
    if kind == "cut":
        return content[:start]
    if kind == "hole":
        return content[:start] + content[start + length:]
    if kind == "twice":
        return content[:start + length] + content[start:]
    for _ in range(rng.choice((1, 4, 32))):
        end = min(4096, len(content))
        place = rng.choice((rng.randrange(len(content)), rng.randrange(end), len(content) - 1 - rng.randrange(end)))
        changed[place] = rng.choice((0, 255, changed[place] ^ 1 << rng.randrange(8), rng.randrange(256)))
    return bytes(changed)


def is_clear(done: subprocess.CompletedProcess, name: str) -> bool:
    """Whether a failure is told in a message of the program that names the file."""
    told = done.stdout + done.stderr
    if done.returncode < 0:     # a library has ended the process
        return "error: this process was ended (" in told and name in told
    return done.returncode in (1, 2) and "error: " in told and name in told and "Traceback" not in told \
        and "full stack trace" not in told


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", ["coco", "voc"])
def test_annotations(cli, tmp_path, form, seed):
    draw_shapes(tmp_path / "shapes", train=2, val=1)
    if form == "coco":
        path = tmp_path / "shapes" / "annotations" / "instances_train2017.json"
        flags = {"coco_root": tmp_path / "shapes"}
    else:
        path = voc_of(tmp_path / "shapes" / "train2017", tmp_path / "voc")
        flags = {"dataset": "voc", "voc_root": tmp_path / "voc"}
    path.write_bytes(mutated(path.read_bytes(), seed))
    done = cli.call("audit", tmp_path, model_name="ssd300", output_path=tmp_path / "out", **flags)
    # A digit in a box is data; the audit is to end, and to name what it cannot read.
    assert done.returncode == 0 or is_clear(done, ""), done.stdout + done.stderr


def voc_of(images: Path, root: Path) -> Path:
    """Two images of a drawn set as Pascal VOC; returns one of the annotation files."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = []
    for image in sorted(images.iterdir()):
        shutil.copy(image, root / "JPEGImages" / image.name)
        names.append(image.stem)
        (root / "Annotations" / f"{image.stem}.xml").write_text(
            f"<annotation><filename>{image.name}</filename><size><width>320</width><height>240</height><depth>3</depth>"
            "</size><object><name>circle</name><difficult>0</difficult><bndbox><xmin>10</xmin><ymin>20</ymin>"
            "<xmax>60</xmax><ymax>80</ymax></bndbox></object></annotation>")
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    return root / "Annotations" / f"{names[0]}.xml"


@pytest.fixture(scope="module")
def material(trained, exported_recipe, tmp_path_factory):
    """Whole files of every kind, and what the programs make of them: {kind: (files, the one to change, command)}."""
    folder = tmp_path_factory.mktemp("material")
    image = next(iter(sorted((Path(trained.flags["coco_root"]) / "val2017").iterdir())))
    predict = ("predict", {"image_path": image, "min_score": 0.05})
    kinds = {"ckpt": ({trained.checkpoint.name: trained.checkpoint}, trained.checkpoint.name, predict)}
    for ending in ("onnx", "mindir"):
        model = exported_recipe("ssd300", ending, "--img_shape=96,96")
        files = {path.name: path for path in model.parent.iterdir() if path.suffix in (model.suffix, ".json", ".yaml")}
        kinds[ending] = (files, model.name, predict)
        alone = {name: path for name, path in files.items() if path.suffix != ".json"}
        kinds[f"{ending} without description"] = (alone, model.name, ("predict", {**predict[1], "classes": "a,b,c"}))
    kinds["description"] = (kinds["onnx"][0], f"{Path(kinds['onnx'][1]).stem}.json", predict)
    run = {str(path.relative_to(trained.run)): path for path in trained.run.rglob("*") if path.is_file()}
    state = next(name for name in run if name.endswith(".state.npz"))
    resume = ("train", {**trained.flags, "epoch_size": trained.epochs, "resume": True, "run_eval": False})
    kinds["state"] = (run, state, resume)
    kinds["pointer"] = (run, "ckpt_0/latest.json", resume)
    records = {path.name: path for path in Path(trained.flags["mindrecord_dir"]).iterdir() if path.is_file()}
    shard = next(name for name in records if not name.endswith((".db", ".json")))
    for name in (shard, f"{shard}.db"):
        kinds[f"MindRecord {name}"] = (records, name, ("train", {
            **trained.flags, "coco_root": "none", "train_steps": 1, "run_eval": False, "batch_size": 8}))
    return SimpleNamespace(folder=folder, kinds=kinds)


KINDS = ("ckpt", "onnx", "onnx without description", "mindir", "mindir without description", "description", "state",
         "pointer", "MindRecord ssd.mindrecord", "MindRecord ssd.mindrecord.db")


def called(cli, material, kind: str, seed: int | None, place: Path) -> tuple:
    """(what the program returned, the name of the changed file, its results) with one file changed by `seed`."""
    files, name, (program, flags) = material.kinds[kind]
    for path, source in files.items():
        (place / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place / "files" / path)
    changed = place / "files" / name
    if seed is not None:
        changed.write_bytes(mutated(changed.read_bytes(), seed))
    if program == "predict":
        flags = {**flags, "model_path": place / "files" / material.kinds[kind if kind != "description" else "onnx"][1],
                 "result_path": place / "out"}
    elif "MindRecord" in kind:
        flags = {**flags, "mindrecord_dir": place / "files", "output_path": place / "out"}
    else:
        flags = {**flags, "output_path": place / "files"}
    done = cli.call(program, place, **flags)
    found = sorted(place.glob("out/predictions.json")) + sorted(place.glob("out/metrics.jsonl"))
    return done, changed.name, [numbers_of(path) for path in found]


def numbers_of(path: Path) -> list:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return [json.loads(line)["loss"] for line in path.read_text().splitlines() if "lr" in line]


@pytest.fixture(scope="module")
def results(cli, material):
    """results(kind): of the whole files, made once."""
    made: dict = {}

    def of(kind: str) -> list:
        if kind not in made:
            place = material.folder / kind.replace(" ", "-")
            place.mkdir()
            done, _, made[kind] = called(cli, material, kind, None, place)
            assert done.returncode == 0, done.stdout + done.stderr
        return made[kind]

    return of


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(MUTATIONS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_gives_the_result_of_the_whole_one_or_a_message(cli, material, results, tmp_path, kind, seed):
    wanted = results(kind)
    done, name, found = called(cli, material, kind, seed, tmp_path)
    told = f"{kind}, seed {seed}, code {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
    if done.returncode:
        assert is_clear(done, "ssd.mindrecord" if "MindRecord" in kind else name), told
    elif "without description" not in kind:     # nothing says what the file was
        assert found == wanted, told
