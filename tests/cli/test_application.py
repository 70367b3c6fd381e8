"""The C++ application by itself: flags, pictures, network inputs, result files. Its network is the stand-in's."""
from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.images import encode_jpeg, read_image
from src.errors import ImageError
from src.ssd.transforms import MEAN, STD, eval_input

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 40, 64
SIDECAR = {"model_name": "ssd300", "classes": ["a"], "batch_size": 2, "outputs": [],
           "input": {"layout": "NCHW", "channels": "RGB", "height": HEIGHT, "width": WIDTH, "keep_ratio": False,
                     "mean": MEAN.tolist(), "std": STD.tolist()}, "versions": {"git_revision": None}}


def drawn(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with noise, so that resizing has something to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC),
                   rng.integers(0, 30, (height, width, 3), np.uint8))


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.fixture
def room(tmp_path):
    """A model of the stand-in with its description, and a folder of five pictures of all formats."""
    (tmp_path / "model.mindir").write_text(f"2 3 {HEIGHT} {WIDTH}")
    (tmp_path / "model.json").write_text(json.dumps(SIDECAR))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "small.jpg").write_bytes(encode_jpeg(drawn(31, 17, 1)))
    (pictures / "two.dots.jpeg").write_bytes(encode_jpeg(drawn(123, 321, 2)))
    (pictures / "turned.JPG").write_bytes(with_orientation(encode_jpeg(drawn(50, 80, 3)), 6))
    cv2.imwrite(str(pictures / "gray.png"), drawn(90, 60, 4)[:, :, 0])
    cv2.imwrite(str(pictures / "whole.bmp"), drawn(HEIGHT, WIDTH, 5))
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "folder").mkdir()
    return tmp_path


def flags(room: Path, **changed) -> dict:
    return {"mindir_path": room / "model.mindir", "dataset_path": room / "pictures", "engine": "mslite", **changed}


def passed(done):
    assert done.returncode == 0, done.stderr
    return done


def network_inputs(folder: Path, shape=(3, HEIGHT, WIDTH)) -> dict:
    return {path.stem: np.fromfile(path, np.float32).reshape(shape) for path in folder.iterdir()}


# Pictures -> network inputs

def test_inputs_are_those_of_the_python_transform_bit_for_bit(application, room):
    passed(application(room, **flags(room, save_inputs=room / "inputs")))
    found = network_inputs(room / "inputs")
    assert sorted(found) == ["gray", "small", "turned", "two.dots", "whole"]
    for path in sorted((room / "pictures").glob("*.[!t]*")):
        np.testing.assert_array_equal(found[path.stem], eval_input(read_image(path), (HEIGHT, WIDTH)), path.name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_in_python(application, room, orientation):
    path = room / "pictures" / "turned.JPG"
    path.write_bytes(with_orientation(encode_jpeg(drawn(50, 80, 3)), orientation))
    passed(application(room, **flags(room, save_inputs=room / "inputs")))
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    height, width = (80, 50) if orientation > 4 else (50, 80)
    assert about["pictures"]["turned"] == {"height": height, "width": width, "orientation": orientation}
    np.testing.assert_array_equal(network_inputs(room / "inputs")["turned"],
                                  eval_input(read_image(path), (HEIGHT, WIDTH)))


@pytest.mark.parametrize("bits", [10, 16])
def test_16_bit_pictures_are_stretched_as_in_python(application, room, bits):
    path = room / "pictures" / "x-ray.png"
    cv2.imwrite(str(path), (drawn(70, 50, 6).astype(np.uint16) << 8) >> (16 - bits))
    passed(application(room, **flags(room, save_inputs=room / "inputs")))
    np.testing.assert_array_equal(network_inputs(room / "inputs")["x-ray"],
                                  eval_input(read_image(path), (HEIGHT, WIDTH)))


def test_the_orientation_is_ignored_when_told_so(application, room):
    passed(application(room, "--ignore_orientation", **flags(room, save_inputs=room / "inputs")))
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    assert about["pictures"]["turned"] == {"height": 50, "width": 80, "orientation": 1}
    stored = read_image(room / "pictures" / "turned.JPG", orientation=1)
    np.testing.assert_array_equal(network_inputs(room / "inputs")["turned"], eval_input(stored, (HEIGHT, WIDTH)))


def test_single_pictures_are_turned_as_the_audit_has_decided(application, room):
    (room / "pictures" / "other.jpg").write_bytes(with_orientation(encode_jpeg(drawn(50, 80, 3)), 6))
    decided = room / "orientations.json"
    decided.write_text('{"turned": 1, "gray": 3}')
    passed(application(room, **flags(room, save_inputs=room / "inputs", orientations_path=decided)))
    about = json.loads((room / "result_Files" / "outputs.json").read_text())["pictures"]
    assert [about[name]["orientation"] for name in ("turned", "gray", "other")] == [1, 3, 6]
    found = network_inputs(room / "inputs")
    for name, orientation in (("turned.JPG", 1), ("gray.png", 3), ("other.jpg", 6)):
        wanted = eval_input(read_image(room / "pictures" / name, orientation), (HEIGHT, WIDTH))
        np.testing.assert_array_equal(found[Path(name).stem], wanted)
    decided.write_text('{"turned": 9}')
    done = application(room, **flags(room, orientations_path=decided))
    assert done.returncode == 1 and "'turned' is 9, an EXIF orientation lies between 1 and 8" in done.stderr


def test_a_picture_that_keeps_its_ratio_lies_in_the_corner(application, room):
    passed(application(room, **flags(room, save_inputs=room / "inputs", keep_ratio="true", placement="corner")))
    found = network_inputs(room / "inputs")["two.dots"]
    image = read_image(room / "pictures" / "two.dots.jpeg")  # 321 x 123: its width is what fills the input
    height = int(123 * WIDTH / 321 + 0.5)
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    canvas[:height] = cv2.resize(image, (WIDTH, height))
    np.testing.assert_array_equal(found, ((canvas.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))


def test_a_picture_that_keeps_its_ratio_lies_in_the_centre(application, room):
    passed(application(room, **flags(room, save_inputs=room / "inputs", KEEP_RATIO="true", placement="center",
                                     channels="BGR", mean="1,2,3", std="4,5,6")))
    found = network_inputs(room / "inputs")["two.dots"]
    image = read_image(room / "pictures" / "two.dots.jpeg")
    factor = WIDTH / 321
    matrix = np.array([[factor, 0, 0], [0, factor, HEIGHT / 2 - factor * 123 / 2]])
    canvas = cv2.warpAffine(image[:, :, ::-1], matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    wanted = (canvas.astype(np.float32) - np.float32([1, 2, 3])) / np.float32([4, 5, 6])
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))


# Result files

def test_results_are_one_file_per_picture_and_output(application, room):
    done = passed(application(room, **flags(room, save_inputs=room / "inputs")))
    results = room / "result_Files"
    names = ["gray", "small", "turned", "two.dots", "whole"]
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [f"{name}_{number}.bin" for name in names for number in range(4)] + ["outputs.json"])
    about = json.loads((results / "outputs.json").read_text())
    assert (about["model"], about["engine"]) == ("model.mindir", "mslite")
    assert about["outputs"] == [{"name": "sums", "type": "float32", "shape": [3]},
                                {"name": "half", "type": "float16", "shape": [1]},
                                {"name": "count", "type": "int32", "shape": []},
                                {"name": "above", "type": "bool", "shape": [1]}]
    for name, image in network_inputs(room / "inputs").items():
        sums = np.fromfile(results / f"{name}_0.bin", np.float32)
        np.testing.assert_allclose(sums, image.sum((1, 2)), rtol=1e-4, atol=0.05)
        assert np.fromfile(results / f"{name}_1.bin", np.float16).tolist() == [1.5]
        assert np.fromfile(results / f"{name}_2.bin", np.int32).tolist() == [3 * HEIGHT * WIDTH]
        assert np.fromfile(results / f"{name}_3.bin", np.bool_).tolist() == [image[0, 0, 0] > 0]
    time = (room / "time_Result" / "test_perform_static.txt").read_text()
    assert time.startswith("NN inference cost average time: ") and time.endswith(" ms of infer_count 3\n")
    assert "5 images in " in done.stdout and "5 / 5 images" in done.stderr


def test_outputs_have_the_names_of_the_description(application, room):
    def run_with(*names: str):
        (room / "model.json").write_text(json.dumps({**SIDECAR, "outputs": [{"name": name} for name in names]}))
        return application(room, **flags(room))

    passed(run_with("boxes", "labels", "valid", "masks"))
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    assert [output["name"] for output in about["outputs"]] == ["boxes", "labels", "valid", "masks"]
    done = run_with("boxes", "scores")
    assert done.returncode == 1 and "the model has 4 outputs, its description names 2" in done.stderr


def flags_for_inputs(application, room) -> dict:
    """Those that run the network on inputs, which here the application itself has saved, in place of preprocess.py."""
    passed(application(room, **flags(room, save_inputs=room / "made" / "input0", result_path=room / "first")))
    first = json.loads((room / "first" / "result_Files" / "outputs.json").read_text())
    sizes = {name: {"height": size["height"], "width": size["width"]} for name, size in first["pictures"].items()}
    (room / "made" / "sizes.json").write_text(json.dumps(sizes))
    return {"mindir_path": room / "model.mindir", "engine": "mslite", "input0_path": room / "made" / "input0"}


def test_inputs_from_preprocess_give_the_results_of_the_pictures(application, room):
    again = flags_for_inputs(application, room)
    passed(application(room, **again, result_path=room / "second"))
    for path in (room / "first" / "result_Files").glob("*.bin"):
        assert (room / "second" / "result_Files" / path.name).read_bytes() == path.read_bytes()
    sizes = json.loads((room / "made" / "sizes.json").read_text())
    second = json.loads((room / "second" / "result_Files" / "outputs.json").read_text())
    assert {name: size["height"] for name, size in second["pictures"].items()} == {
        name: size["height"] for name, size in sizes.items()}


def check_hostile_inputs(application, room) -> None:
    again = flags_for_inputs(application, room)
    for content in (b"short", b"", bytes(30721)):
        (room / "made" / "input0" / "small.bin").write_bytes(content)
        done = application(room, **again)
        assert done.returncode == 1 and "1 of 5 images could not be read" in done.stderr
        assert f"small.bin: has {len(content)} bytes, the network takes 30720" in done.stderr
    (room / "made" / "sizes.json").write_text('{"small": {"height": 1e300, "width": 3}}')
    done = application(room, **again)
    assert done.returncode == 1 and "sizes.json: height has to be a whole number from 1" in done.stderr
    size = '{"height": 1, "width": 3}'
    (room / "made" / "sizes.json").write_text(f'{{"small": {size}, "small": {size}}}')
    done = application(room, **again)
    assert done.returncode == 1 and "the key 'small' stands twice in one object" in done.stderr


def test_broken_inputs_are_named(application, room):
    check_hostile_inputs(application, room)


JPEG = encode_jpeg(drawn(64, 64))
PNG_START = b"\x89PNG\r\n\x1a\n"
BMP_START = b"BM" + struct.pack("<IIII", 60, 0, 54, 40)
HOSTILE = {
    "truncated.jpg": (JPEG[:len(JPEG) // 2], "breaks off before the end"),
    "without_header.jpg": (JPEG[:4], "has no readable header"),
    "empty.jpg": (b"", "is neither JPEG nor PNG nor BMP"),
    "text.png": (b"hello", "is neither JPEG nor PNG nor BMP"),
    "huge.png": (PNG_START + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 20000, 20000, 8, 2, 0, 0, 0, 0),
                 "20000 x 20000 is more than 100000000 pixels"),
    "overflow.png": (PNG_START + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 3638089944, 3638089944, 8, 2, 0, 0, 0, 0),
                     "3638089944 x 3638089944 is more than 100000000 pixels"),
    "huge.bmp": (BMP_START + struct.pack("<iiHHI", 20000, -20000, 1, 24, 0) + bytes(24), "20000 x 20000 is more than"),
    "short.bmp": (BMP_START + struct.pack("<iiHHI", 20, 20, 1, 24, 0) + bytes(24), "breaks off before the end"),
    "lying.png": (PNG_START + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 8, 8, 8, 2, 0, 0, 0, 0)
                  + struct.pack(">I4s", 0xFFFFFFF0, b"IDAT") + bytes(20), "breaks off before the end"),
    "claiming.jpg": (JPEG.replace(JPEG[JPEG.index(b"\xff\xc0") + 5:][:4], struct.pack(">HH", 9999, 10000), 1),
                     "breaks off before the end"),
    "lying.jpg": (b"\xff\xd8\xff\xc0\xff\xff\x08\x00\x08", "has no readable header"),
    "broken_exif.jpg": (with_orientation(JPEG, 6)[:40], "has no readable header"),
}


def check_hostile_pictures(application, room) -> None:
    for name, (content, message) in HOSTILE.items():
        folder = room / "hostile" / name.replace(".", "_")
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        (folder / "good.jpg").write_bytes(JPEG)
        done = application(room, **flags(room, dataset_path=folder))
        assert done.returncode == 1, (name, done.stderr)
        assert f"{name}: " in done.stderr and message in done.stderr, (name, done.stderr)
        assert "1 of 2 images could not be read" in done.stderr and "1 images in" in done.stdout
        assert list(json.loads((room / "result_Files" / "outputs.json").read_text())["pictures"]) == ["good"]


def test_broken_pictures_are_named_and_skipped(application, room):
    check_hostile_pictures(application, room)


@pytest.mark.nightly
def test_hostile_files_touch_no_memory_they_should_not(build_application, room, tmp_path_factory):
    sanitized = build_application(tmp_path_factory.mktemp("sanitized"), ("mslite",), "-DSANITIZE=ON")
    check_hostile_pictures(sanitized, room)
    check_hostile_inputs(sanitized, room)
    rng = np.random.default_rng(0)
    (room / "mutated").mkdir()
    for number in range(200):
        damaged = bytearray(with_orientation(JPEG, 6))
        for place in rng.integers(0, min(len(damaged), 700), 3):
            damaged[place] = rng.integers(256)
        (room / "mutated" / f"{number}.jpg").write_bytes(damaged)
    done = sanitized(room, **flags(room, dataset_path=room / "mutated"))
    assert done.returncode in (0, 1) and "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    passed(sanitized(room, **flags(room)))


def test_what_is_no_readable_file_is_reported(application, room):
    """A folder named like an image, a link to nothing, a pipe, and names that no list of results can hold."""
    pictures = room / "pictures"
    (pictures / "folder.jpg").mkdir()
    (pictures / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(pictures / "pipe.jpg")
    latin = os.fsencode(pictures) + b"/lat\xe4in.jpg"
    Path(os.fsdecode(latin)).write_bytes(JPEG)
    (pictures / ("long" * 62 + ".jpg")).write_bytes(JPEG)
    (pictures / "esc\x1b[31m\x9d.jpg").write_bytes(b"")

    done = application(room, **flags(room))

    assert done.returncode == 1 and "6 of 11 images could not be read" in done.stderr, done.stderr
    for message in ("folder.jpg: is a folder", "gone.png: is a link to nothing", "pipe.jpg: is not a regular file",
                    "lat\\xe4in.jpg: its name is not UTF-8", "longlong.jpg: its name is too long",
                    r"esc\x1b[31m\xc2\x9d.jpg: is neither JPEG nor PNG nor BMP"):
        assert message in done.stderr, message
    assert "\x1b" not in done.stderr
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    assert sorted(about["pictures"]) == ["gray", "small", "turned", "two.dots", "whole"]


def test_the_limit_of_pixels_is_a_flag(application, room):
    done = application(room, **flags(room, max_image_pixels=39482))
    assert done.returncode == 1 and "two.dots.jpeg: 321 x 123 is more than 39482 pixels" in done.stderr
    assert "1 of 5 images could not be read" in done.stderr
    passed(application(room, **flags(room, max_image_pixels=39483)))


def test_outputs_that_are_not_finite_are_an_error(application, room):
    """The sums of an image are not finite when its values are; float16 overflows in the same way on a chip."""
    for value in (np.nan, np.inf):
        again = flags_for_inputs(application, room)
        broken = np.fromfile(room / "made" / "input0" / "small.bin", np.float32)
        broken[7] = value
        broken.tofile(room / "made" / "input0" / "small.bin")
        done = application(room, **again, result_path=room / "second")
        assert done.returncode == 1
        assert "small.bin: output sums holds NaN or infinity" in done.stderr, done.stderr
        assert "1 of 5 images have unusable outputs and no results" in done.stderr
        about = json.loads((room / "second" / "result_Files" / "outputs.json").read_text())
        assert sorted(about["pictures"]) == ["gray", "turned", "two.dots", "whole"]


def test_inputs_keep_their_folders_and_any_letters(application, room):
    """Two images of one name in different folders, and a name beyond the 65,536 first letters, as preprocess.py has
    them."""
    again = flags_for_inputs(application, room)
    made = room / "made"
    for name in ("a/0000", "b/0000", "\U0001f600cat"):
        (made / "input0" / name).parent.mkdir(exist_ok=True)
        (made / "input0" / f"{name}.bin").write_bytes((made / "input0" / "small.bin").read_bytes())
    sizes = {**json.loads((made / "sizes.json").read_text()),
             **{name: {"height": 31, "width": 17} for name in ("a/0000", "b/0000", "\U0001f600cat")}}
    (made / "sizes.json").write_text(json.dumps(sizes))  # the last name is written as a surrogate pair
    passed(application(room, **again, result_path=room / "second", save_inputs=room / "kept"))
    results = room / "second" / "result_Files"
    assert json.loads((results / "outputs.json").read_text())["pictures"].keys() == sizes.keys()
    for name in sizes:
        assert (results / f"{name}_0.bin").is_file() and (room / "kept" / f"{name}.bin").is_file()


@pytest.mark.parametrize("name", ["../small", "/etc/passwd", "a/../../small", "", ".", "a//", "a\0b"])
def test_names_that_lead_out_of_the_inputs_are_refused(application, room, name):
    again = flags_for_inputs(application, room)
    (room / "made" / "sizes.json").write_text(json.dumps({name: {"height": 31, "width": 17}}))
    done = application(room, **again, result_path=room / "second")
    assert done.returncode == 1 and "is no name below a folder; run preprocess.py again" in done.stderr, done.stderr
    assert not (room / "second").exists()


def test_links_that_lead_out_are_refused(application, room):
    again = flags_for_inputs(application, room)
    outside, made = room / "outside", room / "made"
    outside.mkdir()
    (made / "input0" / "small.bin").rename(outside / "small.bin")
    (made / "input0" / "small.bin").symlink_to(outside / "small.bin")
    done = application(room, **again, result_path=room / "second")
    assert done.returncode == 1 and "small.bin: is a link that leads out of" in done.stderr
    (made / "input0" / "a").mkdir()
    (outside / "small.bin").rename(made / "input0" / "a" / "small.bin")
    (made / "input0" / "small.bin").unlink()
    (made / "sizes.json").write_text(json.dumps({"a/small": {"height": 31, "width": 17}}))
    (room / "third" / "result_Files").mkdir(parents=True)
    (room / "third" / "result_Files" / "a").symlink_to(outside)
    done = application(room, **again, result_path=room / "third")
    assert done.returncode == 1 and "is a link that leads out of" in done.stderr and not list(outside.iterdir())


def test_an_input_that_is_missing_is_named(application, room):
    again = flags_for_inputs(application, room)
    (room / "made" / "input0" / "small.bin").unlink()
    done = application(room, **again)
    assert done.returncode == 1 and "small.bin: does not exist" in done.stderr


def test_results_replace_links_and_leave_no_unfinished_file(application, room):
    results = room / "result_Files"
    results.mkdir()
    (room / "precious").write_text("kept")
    (results / "small_0.bin").symlink_to(room / "precious")
    (results / "outputs.json").symlink_to(room / "precious")
    passed(application(room, **flags(room)))
    assert (room / "precious").read_text() == "kept" and not (results / "small_0.bin").is_symlink()
    assert not list(results.glob(".*"))


def scans_repeated(times: int) -> bytes:
    """A progressive JPEG whose last scan stands there `times` times more."""
    jpeg = cv2.imencode(".jpg", drawn(64, 64), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]


def test_a_jpeg_of_many_scans_is_not_decoded(application, room):
    many, few = room / "pictures" / "many.jpg", room / "pictures" / "few.jpg"
    few.write_bytes(scans_repeated(20))
    many.write_bytes(scans_repeated(50))
    done = application(room, **flags(room))
    assert done.returncode == 1 and "many.jpg: has more than 32 scans" in done.stderr
    assert "1 of 7 images could not be read" in done.stderr
    assert read_image(few).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="more than 32 scans"):
        read_image(many)


@pytest.mark.nightly
def test_readers_take_any_bytes():
    """Each of the harnesses in ascend310_infer/fuzz, a minute long, under both sanitizers."""
    if shutil.which("clang++") is None:
        pytest.skip("the readers of the C++ application are not fuzzed: no clang++")
    done = subprocess.run(["make", "fuzz"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


# What the build says

@pytest.mark.parametrize("flags, missing", [
    ("-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", "OpenCV (core) is not installed"),
    ("-DOPENCV_INCLUDE=/ -DOPENCV_core=/ -DOPENCV_imgproc=/ -DOPENCV_imgcodecs=/ "
     "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", "nlohmann-json is not installed"),
    ("-DOPENCV_INCLUDE=/ -DOPENCV_core=/ -DOPENCV_imgproc=/ -DOPENCV_imgcodecs=/ -DJSON_INCLUDE=/ "
     "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", "CLI11 is not installed"),
])
def test_a_missing_library_is_named_with_what_installs_it(tmp_path, flags, missing):
    if shutil.which("g++") is None or shutil.which("cmake") is None:
        pytest.skip("the build of the C++ application is not tested: no compiler; `make cpp-deps` installs it")
    environment = {**os.environ, "BUILD_DIR": str(tmp_path), "CMAKE_FLAGS": flags, "PYTHON": "no-python"}
    done = subprocess.run(["bash", ROOT / "ascend310_infer" / "build.sh", "mslite"], capture_output=True, text=True,
                          env={**environment, "LITE_HOME": str(tmp_path)})
    said = " ".join(done.stderr.split())
    assert done.returncode != 0 and missing in said and "`make cpp-deps` in the project's folder installs it" in said


def test_a_missing_compiler_is_named_with_what_installs_it(tmp_path):
    (tmp_path / "dirname").symlink_to(shutil.which("dirname"))
    done = subprocess.run([shutil.which("bash"), ROOT / "ascend310_infer" / "build.sh"], capture_output=True, text=True,
                          env={"PATH": str(tmp_path)})
    assert done.returncode == 2 and done.stderr.startswith("c++ is not installed")
    assert "`make cpp-deps` in the project's folder installs it" in done.stderr


# What users get wrong

@pytest.mark.parametrize("changed, message", [
    ({"mindir_path": "missing.mindir"}, "missing.mindir does not exist"),
    ({"dataset_path": "nowhere"}, "nowhere is not a folder"),
    ({"dataset_path": "."}, "holds no file that ends in .jpg, .jpeg, .png, .bmp"),
    ({"mindir_path": "model.json", "engine": ""}, "it has to end in .mindir, .ms, .onnx or .xml"),
    ({"engine": "tensorrt"}, "unknown engine 'tensorrt'; choose mslite, openvino or mindspore"),
    ({"engine": ""}, None),
    ({"mean": "1,2"}, "--mean: '1,2' is not three numbers"),
    ({"std": "1,0,1"}, "std has to hold three numbers above 0"),
    ({"std": "1,2,3,4"}, "--std: '1,2,3,4' has more than three numbers"),
    ({"resize_sides": "800"}, "--resize_sides: '800' is not two numbers as in 800,1333"),
    ({"resize_sides": "800,0"}, "resize_sides has to hold two numbers above 0"),
    ({"resized_as": "int8"}, "resized_as 'int8': choose uint8 or float32"),
    ({"padding": "white"}, "padding 'white': choose black or mean"),
    ({"padding": "mean"}, "takes the sizes of the images as a second input, image_sizes, which its description does "
     "not name; export the model again, or give --image_sizes"),
    ({"device_id": "-1"}, "--device_id: '-1' is not a whole number"),
    ({"batch_size": "0"}, "batch_size has to be at least 1"),
    ({"keep_ratio": "maybe"}, "--keep_ratio: 'maybe' is not true or false"),
    ({"keep_ratio": "true", "placement": "left"}, "placement 'left': choose corner or center"),
    ({"device_type": "GPU"}, "--device_type: 'GPU': choose one of Ascend"),
    ({"device_type": "Ascend310", "engine": "mindspore"}, "the engine mindspore runs on the CPU"),
    ({"precision_mode": "bf16", "engine": "mindspore"}, "the engine mindspore computes as the model was exported"),
    ({"precision_mode": "enforce_fp16", "device_type": "CPU"}, "the engine mslite takes it on Ascend only"),
    ({"image_heigth": "30"}, "unknown flag '--image_heigth'"),
    ({"image_height": "99999999"}, "have to be at most 1000000"),
    ({"threads": "99999999999"}, "--threads: '99999999999' is not a whole number"),
    ({"IMAGEHEIGHT": "30"}, "the model takes [2, 3, 40, 64], its description or the flags say [2, 3, 30, 64]"),
    ({"cpu_dvpp": "DVPP", "keep_ratio": "true"}, "--cpu_dvpp DVPP takes images from --dataset_path, for models"),
    ({"cpu_dvpp": "DVPP", "image_width": "300"}, "DVPP gives widths that are a multiple of 16"),
])
def test_wrong_use_is_said_in_one_line(application, room, changed, message):
    done = application(room, **flags(room, **changed))
    if message is None:
        passed(done)
        return
    assert done.returncode == 2 and done.stderr.count("\n") <= 2, done.stderr
    assert message in done.stderr
    assert not (room / "result_Files" / "outputs.json").exists()


@pytest.mark.parametrize("content, message", [
    ("{", "model.json is not valid JSON: parse error at line 1, column 2: syntax error while parsing object key"),
    ("[" * 100000, "nested too deeply"),
    ('{"a":' * 100000, "nested too deeply"),
    ('{"batch_size": 1, "batch_size": 2}', "model.json is not valid JSON: the key 'batch_size' stands twice"),
    ('{"input": {"mean": [NaN, 1, 1]}}', "model.json is not valid JSON: parse error"),
    ('{"input": {"mean": [Infinity, 1, 1]}}', "model.json is not valid JSON: parse error"),
    ('{"input": {"mean": [1e999, 1, 1]}}', "model.json is not valid JSON: number overflow parsing '1e999'"),
    ("[1] 2", "model.json is not valid JSON: parse error at line 1, column 5"),
    ('{"batch_size": 100000000000000000000, "input": {}}', "batch_size has to be a whole number from 1"),
    (json.dumps({**SIDECAR, "input": {**SIDECAR["input"], "mean": [1e300, 1, 1]}}), "mean has to be three numbers"),
    (json.dumps({**SIDECAR, "input": {**SIDECAR["input"], "channels": "GBR"}}),
     "model.json: channels is 'GBR': choose one of RGB, BGR"),
    ('{"input": 3}', "batch_size has to be a whole number from 1"),
    (json.dumps({**SIDECAR, "input": {**SIDECAR["input"], "std": [1, 2]}}), "std has to be three numbers"),
    (json.dumps({**SIDECAR, "input": {**SIDECAR["input"], "height": 1e30}}), "height has to be a whole number"),
    ('{"input": {}, "x": "\\u12"}', "must be followed by 4 hex digits"),
    ('{"input": {}, "x": "\\ud83d"}', "surrogate"),
])
def test_a_broken_description_is_named(application, room, content, message):
    (room / "model.json").write_text(content)
    done = application(room, **flags(room))
    assert done.returncode == 1 and message in done.stderr, done.stderr


@pytest.mark.parametrize("arguments, message", [
    (("--mindir_path",), "--mindir_path needs a value"),
    (("--mindir_path", "--engine", "mslite"), "--mindir_path needs a value, not '--engine'"),
    (("model.mindir",), "unexpected argument 'model.mindir'; flags are written --name value"),
    (("-nonsense=3",), "unknown flag '-nonsense'"),
    (("--ignore_orientation=maybe",), "--ignore_orientation: 'maybe' is not true or false"),
])
def test_a_broken_command_line_is_said(application, room, arguments, message):
    done = application(room, *arguments)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_flags_are_written_as_in_the_old_applications(application, room):
    """With one dash or two, their value behind = or a blank; the last of two counts."""
    written = {
        "two dashes": ("--mindir_path", "model.mindir", "--dataset_path", "pictures", "--engine", "mslite"),
        "one dash": ("-mindir_path=model.mindir", "-dataset_path", "pictures", "-engine=mslite"),
        "last counts": ("--engine=tensorrt", "--model_path=model.mindir", "--data_path=pictures", "--engine=mslite"),
        "empty value": ("--mindir_path=model.mindir", "--precision_mode=", "--dataset_path=pictures", "-engine=mslite"),
        "switch in front": ("--ignore_orientation", "--mindir_path=model.mindir", "--dataset_path=pictures",
                            "-engine=mslite", "-RESTOREBBOX", "true"),
    }
    for name, arguments in written.items():
        done = application(room, *arguments)
        assert done.returncode == 0, (name, done.stderr)
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    assert about["pictures"]["turned"]["orientation"] == 1, "the last one ignores the orientation"


def test_brackets_belong_to_a_value(application, room):
    passed(application(room, **flags(room, result_path="[1,2]")))
    assert (room / "[1,2]" / "result_Files" / "outputs.json").exists()


def test_channels_are_read_in_any_case(application, room):
    for channels in ("BGR", "bgr"):
        (room / "model.json").write_text(json.dumps({**SIDECAR, "input": {**SIDECAR["input"], "channels": channels}}))
        passed(application(room, **flags(room, save_inputs=room / channels)))
    for path in (room / "BGR").iterdir():
        assert path.read_bytes() == (room / "bgr" / path.name).read_bytes()
    image = read_image(room / "pictures" / "small.jpg")[:, :, ::-1]
    wanted = eval_input(np.ascontiguousarray(image), (HEIGHT, WIDTH))
    np.testing.assert_array_equal(network_inputs(room / "bgr")["small"], wanted)


def test_the_model_s_ending_may_be_in_capitals(application, room):
    (room / "model.mindir").rename(room / "MODEL.MINDIR")
    (room / "model.json").rename(room / "MODEL.json")
    assert "type 0" in passed(application(room, **flags(room, mindir_path="MODEL.MINDIR", engine=""))).stderr


def test_without_a_description_flags_say_all(application, room):
    (room / "model.json").unlink()
    done = application(room, **flags(room))
    assert done.returncode == 2 and "there is no json beside the model" in done.stderr
    listed = {name: ",".join(map(repr, map(float, values))) for name, values in (("mean", MEAN), ("std", STD))}
    passed(application(room, **flags(room, image_height=HEIGHT, image_width=WIDTH, batch_size=2, save_inputs="inputs",
                                     **listed)))
    image = read_image(room / "pictures" / "small.jpg")
    np.testing.assert_array_equal(network_inputs(room / "inputs")["small"], eval_input(image, (HEIGHT, WIDTH)))


def test_pictures_of_one_name_are_refused(application, room):
    cv2.imwrite(str(room / "pictures" / "small.png"), drawn(20, 20))
    done = application(room, **flags(room))
    assert done.returncode == 2 and "would have results of the same name" in done.stderr


def test_help_lists_flags_and_engines(application, tmp_path):
    done = passed(application(tmp_path, "--help"))
    assert "--mindir_path, --model_path FILE" in done.stdout and "Engines built in: mslite" in done.stdout
    assert list(tmp_path.iterdir()) == []


# The engine mslite, as far as the stand-in shows it

@pytest.mark.parametrize("changed, words", [
    ({}, "type 0, threads 0, Ascend 0 preferred_fp32"),
    ({"device_id": 3, "precision_mode": "enforce_fp16", "device_type": "ascend310"}, "Ascend 3 enforce_fp16"),
    ({"device_type": "CPU", "threads": 2}, "type 0, threads 2, CPU"),
])
def test_mindspore_lite_gets_its_device(application, room, changed, words):
    assert words in passed(application(room, **flags(room, **changed))).stderr


def test_dvpp_decodes_and_aipp_normalises(application, room):
    done = passed(application(room, **flags(room, cpu_dvpp="DVPP", device_id=1)))
    assert "stand-in: DVPP 40 x 64 on device 1" in done.stderr
    assert f"Ascend 1 preferred_fp32 {room / 'aipp.cfg'}" in done.stderr.replace("./", f"{room}/")
    about = json.loads((room / "result_Files" / "outputs.json").read_text())
    assert about["pictures"]["turned"] == {"height": 50, "width": 80, "orientation": 1}
    assert sorted(about["pictures"]) == ["small", "turned", "two.dots"], "the chip decodes JPEG only"
    sums = np.fromfile(room / "result_Files" / "small_0.bin", np.float32)
    assert sums[0] == HEIGHT * WIDTH * 3 // 2 * 7, "every byte of the stand-in's picture is 7"
    config = dict(line.split(": ") for line in (room / "aipp.cfg").read_text().splitlines() if ": " in line)
    assert (config["  src_image_size_w"], config["  src_image_size_h"]) == (str(WIDTH), str(HEIGHT))
    for channel in range(3):
        mean = float(config[f"  mean_chn_{channel}"]) + float(config[f"  min_chn_{channel}"])
        assert mean == pytest.approx(MEAN[channel], rel=1e-6) and "." not in config[f"  mean_chn_{channel}"]
        assert 1 / float(config[f"  var_reci_chn_{channel}"]) == pytest.approx(STD[channel], rel=1e-6)


def test_the_device_package_s_files_are_told_apart(application, room):
    (room / "model.mindir").rename(room / "model.ms")
    assert "type 4" in passed(application(room, **flags(room, mindir_path=room / "model.ms"))).stderr


def test_a_model_that_cannot_be_loaded_is_named(application, room):
    (room / "model.mindir").write_text("no model")
    done = application(room, **flags(room))
    assert done.returncode == 1
    assert "model.mindir cannot be loaded by MindSpore Lite: no model of the stand-in" in done.stderr


def test_openvino_says_why_it_cannot_load_a_model(application, room):
    if "openvino" not in application.engines:
        pytest.skip("the engine openvino is not tested: its package is not installed")
    done = application(room, **flags(room, mindir_path=(room / "model.mindir").rename(room / "model.onnx"),
                                     engine="openvino"))
    assert done.returncode == 1
    assert "error: " in done.stderr and "model.onnx cannot be loaded: Unable to read the model" in done.stderr
