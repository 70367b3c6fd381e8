"""Detection from Python and predict.py, with a network whose answers can be followed."""
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import predict as program
from src import api
from src.api import Detector
from src.data.any_image import read_any_image
from src.data.video import Video, video_file
from src.errors import ImageError, UsageError
from src.evaluation.predictor import Predictor
from src.evaluation.thresholds import ScoreThreshold
from src.ops.detections import Detections

ROOT = Path(__file__).resolve().parents[1]


class Bright:
    """Two detections per image: the left half, with the brightness as score, and the whole with half of that."""

    classes = ("dark", "bright")

    def views(self, image, one_shape):     # noqa: ARG002 (the interface of the families)
        return [(np.full((3, 4, 4), image.mean() / 255, np.float32), image.shape[:2])]

    def further_inputs(self, _geometry):
        return ()

    def postprocess_views(self, outputs, geometries):
        (((score,),), ((height, width),)) = outputs, geometries
        boxes = np.float32([[0, 0, width / 2, height], [0, 0, width, height]])
        return Detections(boxes, np.float32([score, score / 2]), np.int32([1, 0]))


def detector(threshold=0.5, one_shape=False):
    def run(images):
        return [images.mean((1, 2, 3))]

    return Detector(Predictor(Bright(), run, 1, one_shape), ScoreThreshold(threshold, "test"), workers=2)


def image(brightness, height=20, width=40):
    return np.full((height, width, 3), brightness, np.uint8)


def write(path, brightness=204, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(path.suffix, image(brightness, **size))[1]
    path.write_bytes(data.tobytes())
    return path


# Python

def test_boxes_scores_labels_and_names_of_an_array_from_the_threshold_on():
    found = detector().predict(image(204))
    assert found.boxes.tolist() == [[0, 0, 20, 20]] and found.boxes.dtype == np.float32
    assert found.scores == pytest.approx([0.8]) and found.labels.tolist() == [1] and found.names == ["bright"]
    assert found.masks is None and len(found) == 1
    assert detector().predict(image(204), threshold=0).names == ["bright", "dark"]


def test_a_list_of_files_and_arrays_in_batches_keeps_its_order(tmp_path):
    sources = [write(tmp_path / "a.png", 255), str(write(tmp_path / "b.png", 204)), image(153)]
    for batch_size in (1, 2, 8):
        found = detector().predict(sources, batch_size=batch_size)
        assert [round(float(one.scores[0]), 2) for one in found] == [1.0, 0.8, 0.6]


def test_the_bytes_of_a_file_are_an_image(tmp_path):
    data = write(tmp_path / "a.png").read_bytes()
    assert detector().predict(data).names == ["bright"] and len(detector().predict([data, data])) == 2
    with pytest.raises(ImageError, match="image 1: is neither JPEG nor PNG nor BMP"):
        detector().predict([data, b"text"])


def test_masks_are_decoded_for_the_whole_image():
    from pycocotools import mask
    half = np.zeros((2, 4), np.uint8, order="F")
    half[:, :2] = 1
    found = api.Prediction(np.zeros((1, 4), np.float32), np.float32([0.9]), np.int32([0]), ["a"], (2, 4),
                           [mask.encode(half)])
    assert found.masks.shape == (1, 2, 4) and found.masks.dtype == bool and (found.masks[0] == half).all()
    assert found.above(0.95).masks.shape == (0, 2, 4)


@pytest.mark.parametrize("wrong", [7, image(0)[..., 0], image(0).astype(np.float32), image(0)[:0]])
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(UsageError, match="an image is a file name, the bytes of a file or an array"):
        detector().predict([wrong])


def test_an_exported_model_keeps_its_batch_size():
    with pytest.raises(UsageError, match="exported for 1 image at a time"):
        detector(one_shape=True).predict([image(0)], batch_size=8)


def test_show_draws_what_was_found_and_writes_it(tmp_path):
    drawn = detector().show(image(204, 100, 200), path=tmp_path / "out.jpg")
    assert drawn.shape == (100, 200, 3) and (drawn != 204).any()
    assert read_any_image(tmp_path / "out.jpg").shape == (100, 200, 3)


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(api, "load_detector", lambda path: detector() if path == "runs/voc" else None)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "street.jpg")
    write(tmp_path / "house.jpg", 51)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"))
    assert "bright 0.80 at 0, 0 to 20, 20" in capsys.readouterr().out and (tmp_path / "street_found.jpg").is_file()


def test_with_agnostic_suppression_only_the_better_one_of_two_classes_stays():
    """The halves overlap by 1/2."""
    model = detector(threshold=0)
    assert model.predict(image(204)).names == ["bright", "dark"]
    model.predictor.agnostic_nms = 0.4
    assert model.predict(image(204)).names == ["bright"]


# Images

@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"])
def test_every_kind_of_image_is_read(tmp_path, ending):
    assert read_any_image(write(tmp_path / f"a{ending}")) == pytest.approx(image(204), abs=2)


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_a_large_image_and_a_broken_one_are_refused_by_name(tmp_path, ending):
    path = write(tmp_path / f"a{ending}")
    with pytest.raises(ImageError, match=f"a{ending}: 40 x 20 is more than 700 pixels"):
        read_any_image(path, max_pixels=700)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ImageError, match=f"a{ending}"):
        read_any_image(path)


# predict.py

def test_folders_are_walked_and_results_of_earlier_calls_left_out(tmp_path):
    for name in ("b.WEBP", "cats/a.tif", "cats/deep/c.jpg", "out/0000_b.jpg", "notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "out" / "predictions.json").write_text("[]")
    found = [path.relative_to(tmp_path).as_posix() for path in program.find_images(str(tmp_path))]
    assert found == ["b.WEBP", "cats/a.tif", "cats/deep/c.jpg"]


def test_a_list_may_begin_with_a_byte_order_mark_and_hold_comments(tmp_path):
    write(tmp_path / "a.jpg")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf# of today\r\na.jpg\r\n\r\n  # b.jpg\r\n")
    assert program.find_images(str(tmp_path / "list.txt")) == [tmp_path / "a.jpg"]


def test_drawn_copies_keep_the_folder_where_names_are_equal():
    names = program.drawn_names([Path("cats/a.jpg"), Path("dogs/a.jpg"), Path("dogs/b.jpg")])
    assert names == ["0000_cats_a.jpg", "0001_dogs_a.jpg", "0002_b.jpg"]


def test_names_of_any_length_and_any_bytes_can_be_written(tmp_path):
    for name in program.drawn_names([Path("浣" * 80 + ".jpg"), Path("caf\udce9.jpg")]):
        assert len(name.encode("utf-8")) < 255
        (tmp_path / name).write_text("")


def test_results_are_written_image_by_image_and_broken_images_left_out(tmp_path, capsys):
    paths = [write(tmp_path / "a.png"), tmp_path / "broken.png", write(tmp_path / "c.png", 51)]
    paths[1].write_text("no image")
    (tmp_path / "out").mkdir()
    unreadable = program.predict(detector(), paths, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [Path(row["file"]).name for row in rows] == ["a.png", "c.png"]
    assert rows[0]["detections"][0] == {"class": "bright", "score": 0.8, "box": [0.0, 0.0, 20.0, 20.0]}
    assert len(unreadable) == 1 and "broken.png" in unreadable[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0000_a.jpg", "0002_c.jpg", "predictions.json"]
    assert "2 images, 1 box drawn from score 0.500 (test); 1 image without any" in capsys.readouterr().out


def test_the_highest_score_is_said_when_nothing_is_drawn(tmp_path, capsys):
    program.predict(detector(), [write(tmp_path / "a.png", 51)], tmp_path)
    assert "the highest score of all detections is 0.200" in capsys.readouterr().out


def test_what_was_found_before_an_interrupt_stays(tmp_path, monkeypatch):
    model, shown = detector(), []

    def show(*_):
        shown.append(1)
        if len(shown) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "show", show)
    with pytest.raises(KeyboardInterrupt):
        program.predict(model, [write(tmp_path / f"{name}.png") for name in "abc"], tmp_path)
    assert [Path(row["file"]).name for row in json.loads((tmp_path / "predictions.json").read_text())] == [
        "a.png", "b.png"]


def test_a_video_is_drawn_frame_by_frame(tmp_path, capsys):
    with video_file(tmp_path / "clip.mp4", 5.0) as draw:
        for level in (204, 51, 204):
            draw(image(level))
    (tmp_path / "out").mkdir()
    assert program.predict_video(detector(), Video(tmp_path / "clip.mp4"), tmp_path / "out") == []
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(row["frame"], row["seconds"]) for row in rows] == [(0, 0.0), (1, 0.2), (2, 0.4)]
    assert [row["detections"][0]["score"] > 0.5 for row in rows] == [True, False, True]
    assert len(list(Video(tmp_path / "out" / "clip.mp4").frames())) == 3
    assert "3 frames, 2 boxes drawn from score 0.500 (test); 1 frame without any" in capsys.readouterr().out


def test_a_video_that_ends_before_its_time_is_named(tmp_path):
    with video_file(tmp_path / "clip.mp4", 5.0) as draw:
        draw(image(204))
    video = Video(tmp_path / "clip.mp4")
    video.frame_count = 100
    (message,) = program.predict_video(detector(), video, tmp_path)
    assert "clip.mp4: 1 of 100 frames could be read" in message


def test_videos_cameras_and_lists_of_images_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clip.MP4", "a.jpg", "b.jpg", "a,b.jpg", "7"):
        (tmp_path / name).touch()
    (tmp_path / "clips.mp4").mkdir()
    source = program.video_source
    assert (source("clip.MP4"), source("0"), source("12")) == (Path("clip.MP4"), 0, 12)
    assert [source(given) for given in (None, "", "a.jpg", "7", "clips.mp4", "2026", "missing.mp4")] == [None] * 7
    assert program.find_images("a.jpg, b.jpg") == [Path("a.jpg"), Path("b.jpg")]
    assert program.find_images("a,b.jpg") == [Path("a,b.jpg")]
    with pytest.raises(UsageError, match="c.jpg does not exist"):
        program.find_images("a.jpg,c.jpg")


def test_an_image_whose_numbers_are_not_finite_is_named(tmp_path):
    def run(images):
        means = images.mean((1, 2, 3))
        return [np.where(means > 0.9, np.nan, means)]

    images = [write(tmp_path / name, brightness=brightness)
              for name, brightness in (("a.png", 100), ("b.png", 250), ("c.png", 120))]
    broken = Detector(Predictor(Bright(), run), ScoreThreshold(0.1, "test"), workers=2)
    (tmp_path / "out").mkdir()
    (message,) = program.predict(broken, images, tmp_path / "out")
    assert re.search(r"b.png: 1 of the 1 numbers of the network's output 0 are not finite", message)
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 2


def test_the_list_on_the_disk_is_complete_after_every_row(tmp_path):
    path = tmp_path / "rows.json"
    with program.result_file(path) as write_row:
        for count in range(3):
            assert len(json.loads((tmp_path / "rows.json.tmp").read_text())) == count
            write_row({"file": "caf\udce9.jpg", "number": count})
    assert [row["number"] for row in json.loads(path.read_text())] == [0, 1, 2]
    assert [name.name for name in tmp_path.iterdir()] == ["rows.json"]


def test_what_was_found_before_the_disk_was_full_stays(tmp_path):
    """The system itself refuses: files of the process may have 1,000 bytes, the second row needs more."""
    code = f"""
import resource, signal
from pathlib import Path
import predict
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with predict.result_file(Path({str(tmp_path / "rows.json")!r})) as write:
    write({{"text": "a" * 500}})
    write({{"text": "b" * 800}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "OSError" in done.stderr
    assert json.loads((tmp_path / "rows.json").read_text()) == [{"text": "a" * 500}]
