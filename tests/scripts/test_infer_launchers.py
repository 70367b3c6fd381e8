"""run_infer_310.sh and run_infer_cpp.sh: what the application and postprocess.py are called with, logs, exit codes."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = "coco/val2017"
ANNOTATED = "--coco_root={coco} --val_data_type=val2017"
ONE_FILE = "--instances_set={val.json} --coco_root={coco} --val_data_type=val2017"

# script, arguments, flags of the application besides model and result folder, flags of postprocess.py besides them
CALLS = [
    ("ssd/run_infer_310.sh", f"net.onnx {PICTURES} DVPP 2",
     "--dataset_path={coco}/val2017 --cpu_dvpp=DVPP --device_id=2",
     ANNOTATED),
    ("ssd/run_infer_310.sh", f"net.onnx {PICTURES} 2 old.yaml",
     "--dataset_path={coco}/val2017 --cpu_dvpp=CPU --device_id=2", "--config_path={old.yaml} " + ANNOTATED),
    ("ssd/run_infer_cpp.sh", f"net.onnx {PICTURES} cpu old.yaml CPU",
     "--dataset_path={coco}/val2017 --cpu_dvpp=cpu --device_id=0 --device_type=CPU",
     "--config_path={old.yaml} " + ANNOTATED),
    ("ssd/run_infer_cpp.sh", f"net.onnx {PICTURES} DVPP old.yaml Ascend310 1 --drop true",
     "--dataset_path={coco}/val2017 --cpu_dvpp=DVPP --device_id=1 --device_type=Ascend310",
     "--config_path={old.yaml} " + ANNOTATED + " --drop true"),
    ("faster_rcnn/run_infer_310.sh", f"net.onnx {PICTURES} val.json", "--dataset_path={coco}/val2017 --device_id=0",
     ONE_FILE),
    ("mask_rcnn/run_infer_310.sh", f"net.onnx {PICTURES} val.json 3", "--dataset_path={coco}/val2017 --device_id=3",
     ONE_FILE),
]


@pytest.fixture
def infer(shell):
    """The shell, in which the application is a stand-in, too."""
    main = shell.cwd / "programs" / "main"
    main.write_text((shell.cwd / "programs" / "python").read_text())
    main.chmod(0o755)
    (shell.cwd / PICTURES).mkdir()
    shell.file("net.json")
    shell.environment["INFER_MAIN"] = str(main)
    return shell


def flags_of(text: str, files: dict) -> list:
    for name, path in files.items():
        text = text.replace("{" + name + "}", path)
    return text.split()


def test_the_variable_device_id_names_the_device_where_no_argument_does(infer):
    infer.environment["device_id"] = "5"
    infer.run("faster_rcnn/run_infer_310.sh", "net.onnx", PICTURES, "val.json")
    infer.run("mask_rcnn/run_infer_310.sh", "net.onnx", PICTURES, "val.json", 3)
    assert [word for call in infer.calls for word in call["arguments"] if word.startswith("--device_id")] == [
        "--device_id=5", "--device_id=3"]


@pytest.mark.parametrize("script, line, application, postprocess", CALLS)
def test_old_arguments_run_and_measure(infer, script, line, application, postprocess):
    code, output = infer.run(script, *line.split())
    assert code == 0, output
    first, second = infer.calls
    model, here = infer.files["net.onnx"], infer.cwd
    assert first["name"] == "main"
    assert first["arguments"] == [f"--mindir_path={model}", f"--result_path={here}",
                                  *flags_of(application, infer.files)]
    assert second["arguments"] == [str(ROOT / "postprocess.py"), f"--model_path={model}",
                                   f"--result_files_path={here}/result_Files", *flags_of(postprocess, infer.files)]
    for log in ("infer.log", "acc.log"):
        assert "stand-in of rank" in (here / log).read_text()


def test_centernet_prepares_its_inputs_when_told_so(infer):
    code, output = infer.run("centernet/run_infer_310.sh", "net.onnx", "coco", "y", 1)
    assert code == 0, output
    first, second, third = infer.calls
    data = [f"--model_path={infer.files['net.onnx']}", f"--coco_root={infer.files['coco']}"]
    assert first["arguments"] == [str(ROOT / "preprocess.py"), data[0],
                                  f"--preprocess_path={infer.cwd}/preprocess_Result", data[1]]
    assert second["arguments"][2:] == [f"--input0_path={infer.cwd}/preprocess_Result/input0", "--device_id=1"]
    assert third["arguments"] == [str(ROOT / "postprocess.py"), data[0],
                                  f"--result_files_path={infer.cwd}/result_Files", data[1]]


@pytest.mark.parametrize("prepare, words", [("n", "there are no inputs in preprocess_Result"), ("yes", "not y or n")])
def test_centernet_says_what_is_wrong_with_the_inputs(infer, prepare, words):
    code, output = infer.run("centernet/run_infer_310.sh", "net.onnx", "coco", prepare)
    assert code == 2 and words in output and infer.calls == []


def test_what_fails_ends_the_script_with_its_code_and_log(infer):
    code, output = infer.run("faster_rcnn/run_infer_310.sh", "net.onnx", PICTURES, "val.json",
                             behaviour={"": {"exit": 7}})
    assert code == 7 and f"error: main ended with exit code 7; see {infer.cwd}/infer.log" in output
    assert len(infer.calls) == 1


def test_a_build_that_fails_ends_the_script(infer):
    del infer.environment["INFER_MAIN"]
    infer.environment["OpenVINO_DIR"] = "anywhere"
    cmake = infer.cwd / "programs" / "cmake"
    cmake.write_text("#!/bin/sh\necho no compiler\nexit 3\n")
    cmake.chmod(0o755)
    code, output = infer.run("mask_rcnn/run_infer_310.sh", "net.onnx", PICTURES, "val.json")
    assert code == 3 and "see " in output and "no compiler" in (infer.cwd / "build.log").read_text()
    assert "main" not in [call["name"] for call in infer.calls]


def test_a_missing_annotation_file_is_named(infer):
    code, output = infer.run("mask_rcnn/run_infer_310.sh", "net.onnx", PICTURES, "absent.json")
    assert code == 2 and "ANN_FILE_PATH: absent.json does not exist" in output and infer.calls == []


def test_the_background_prepares_nothing_in_the_foreground(infer):
    code, output = infer.run("centernet/run_infer_310.sh", "net.onnx", "coco", "y", "--background")
    assert code == 0 and "started as process" in output
    names = [os.path.basename(call["arguments"][0]) for call in infer.wait_for_calls(3) if call["name"] == "python"]
    assert names == ["preprocess.py", "postprocess.py"]


@pytest.mark.parametrize("model, words", [
    ("old.air", "is a model of the old application, which this one does not read; export it again: python"),
    ("old.om", "is a model of the old application"), ("old.mindir", "there is no {}/old.json, which says how")])
def test_models_of_the_old_application_are_to_be_exported_again(infer, model, words):
    infer.file(model)
    code, output = infer.run("mask_rcnn/run_infer_310.sh", model, PICTURES, "val.json")
    assert code == 2 and words.format(infer.cwd) in output
    assert f"export.py --ckpt_file CKPT --file_name {infer.cwd}/old --file_format MINDIR" in output
    assert infer.calls == []
