"""Every command of the zoo's five READMEs, as an old user types it: which program of today it starts, with what."""
from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from golden import Golden
from shipped_files import FILES

from src.command_line import load_config
from src.errors import ProjectError
from src.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
HANGS = 300  # seconds

# File of the table -> golden list of a checkpoint of the zoo, or YAML file of the zoo.
CHECKPOINTS = {"ssd.ckpt": "ssd300", "r50.ckpt": "faster_rcnn_r50", "res2net.ckpt": "faster_rcnn_res2net101",
               "mask.ckpt": "maskrcnn_r50", "centernet.ckpt": "centernet_resnet50"}
SETTINGS = {"ssd300_config.yaml": "official/cv/SSD/config/ssd300_config.yaml",
            "onnx.yaml": "official/cv/SSD/config/ssd_mobilenet_v1_fpn_ONNX_config.yaml",
            "default_config_101.yaml": "research/cv/res2net_faster_rcnn/default_config_101.yaml"}


class Row(NamedTuple):
    """A command of a README, with its arguments filled in, and what has to come of it: the model and some settings of
    the program that it starts; "" for no program with settings, "!words" for being refused with these words."""

    family: str
    command: str
    model: str
    settings: str = ""


R101, R50, MASK, CN50 = ("faster_rcnn_res2net101", "faster_rcnn_resnet50", "mask_rcnn_resnet50", "centernet_resnet50")
BODY, SSD = "feature_extractor_base_param=backbone.ckpt", "ssd300"
AGAIN = "!export it again: python"
ROWS = [
    # README 004, SSD
    Row("ssd", "bash run_distribute_train.sh 2 500 0.2 coco hccl.json ssd300_config.yaml", SSD,
        "lr=0.2 epoch_size=500"),
    Row("ssd", "bash run_distribute_train.sh 2 500 0.2 coco hccl.json ssd300_config.yaml ssd.ckpt 200", SSD,
        "pre_trained=ssd.ckpt pre_trained_epoch_size=200"),
    Row("ssd", "bash run_standalone_train.sh 0 500 0.2 coco ssd300_config.yaml", SSD, "lr=0.2 run_distribute=False"),
    Row("ssd", "bash run_standalone_train.sh 0 500 0.2 coco ssd300_config.yaml ssd.ckpt 200", SSD,
        "pre_trained=ssd.ckpt"),
    Row("ssd", "bash run_distribute_train_gpu.sh 8 500 0.2 coco ssd300_config.yaml", SSD, "loss_scale=1.0"),
    Row("ssd", "bash run_distribute_train_gpu.sh 8 500 0.2 coco ssd300_config.yaml ssd.ckpt 200", SSD,
        "pre_trained=ssd.ckpt"),
    Row("ssd", "bash run_eval.sh coco ssd.ckpt 0 ssd300_config.yaml", SSD, "checkpoint_file_path=ssd.ckpt"),
    Row("ssd", "bash run_eval_gpu.sh coco ssd.ckpt 0 ssd300_config.yaml", SSD, "device_target=GPU"),
    Row("ssd", "bash run_export.sh ssd300_config.yaml MINDIR", SSD, "file_format=MINDIR"),
    Row("ssd", "bash run_infer_310.sh net.mindir coco/val2017 0 ssd300_config.yaml", SSD, "device_target=Ascend"),
    Row("ssd", "bash run_infer_cpp.sh net.mindir coco/val2017 DVPP ssd300_config.yaml Ascend310 0", SSD),
    Row("ssd", "bash run_eval_onnx.sh . coco other.onnx", "!no settings (.yaml) lie beside"),
    Row("ssd", "bash run_eval_onnx.sh . coco other.onnx annotations/instances_{}.json CPU ssd300_config.yaml", SSD,
        "coco_root=coco checkpoint_file_path=other.onnx"),
    Row("ssd", "bash infer_ssd_mobilenet_v1_fpn_onnx.sh coco val2017 other.onnx annotations/instances_{}.json GPU "
        "onnx.yaml", "ssd_mobilenet_v1_fpn", "device_target=GPU val_data_type=val2017"),
    Row("ssd", "bash run_download_dataset.sh coco ssd300_config.yaml", SSD),
    Row("ssd", "bash docker_start.sh ssd:20.1.0 coco records", ""),
    Row("ssd", "python train.py --device_target=CPU --lr=0.01 --dataset=coco --epoch_size=2 --batch_size=4 "
        "--config_path=ssd300_config.yaml --pre_trained=ssd.ckpt --filter_weight=True --save_checkpoint_epochs=1", SSD,
        "lr=0.01 filter_weight=True pre_trained=ssd.ckpt"),
    Row("ssd", "python eval.py --device_target=CPU --dataset=coco --checkpoint_file_path=ssd.ckpt "
        "--config_path=ssd300_config.yaml", SSD, "checkpoint_file_path=ssd.ckpt"),
    Row("ssd", "python export.py --checkpoint_file_path ssd.ckpt --file_name ssd.onnx --file_format ONNX --config_path "
        "ssd300_config.yaml --batch_size 1", SSD, "file_format=ONNX file_name=ssd.onnx"),
    Row("ssd", "python export.py --checkpoint_file_path ssd.ckpt --file_name ssd --file_format AIR --config_path "
        "ssd300_config.yaml", SSD, "file_format=AIR"),
    # README 000, Faster R-CNN with Res2Net
    *(Row("faster_rcnn", f"bash run_standalone_train_{device}.sh backbone.ckpt res2net_101 coco{more}", R101,
          f"{BODY} coco_root=coco") for device in ("ascend", "gpu") for more in ("", " records")),
    Row("faster_rcnn", "bash run_distribute_train_ascend.sh hccl.json backbone.ckpt res2net_101 coco records", R101,
        BODY),
    Row("faster_rcnn", "bash run_distribute_train_gpu.sh 8 backbone.ckpt res2net_101 coco records", R101, BODY),
    *(Row("faster_rcnn", f"bash run_eval_{device}.sh val.json res2net.ckpt res2net_101 coco", R101,
          "instances_set=val.json checkpoint_file_path=res2net.ckpt") for device in ("ascend", "gpu")),
    Row("faster_rcnn", "bash run_infer_310.sh net.mindir coco/val2017 val.json 0", "any", "instances_set=val.json"),
    Row("faster_rcnn", "python export.py --config_path default_config_101.yaml --ckpt_file res2net.ckpt "
        "--device_target CPU --file_format MINDIR --backbone res2net_101", R101, "checkpoint_file_path=res2net.ckpt"),
    Row("faster_rcnn", "python export.py --ckpt_file res2net.ckpt --file_name faster --file_format MINDIR "
        "--config_path default_config_101.yaml", R101, "file_name=faster"),
    Row("faster_rcnn", "python eval.py --config_path default_config_101.yaml --anno_path val.json --checkpoint_path "
        "res2net.ckpt --backbone res2net_101 --coco_root coco", R101, "instances_set=val.json"),
    # README 001, Faster R-CNN of r1.2
    Row("faster_rcnn", "sh run_standalone_train_ascend.sh backbone.ckpt", R50, BODY),
    Row("faster_rcnn", "sh run_standalone_train_gpu.sh backbone.ckpt", R50, BODY),
    Row("faster_rcnn", "sh run_distribute_train_ascend.sh hccl.json backbone.ckpt", R50, BODY),
    Row("faster_rcnn", "sh run_distribute_train_gpu.sh 8 backbone.ckpt", R50, BODY),
    Row("faster_rcnn", "sh run_eval_ascend.sh val.json r50.ckpt", R50, "checkpoint_file_path=r50.ckpt"),
    Row("faster_rcnn", "sh run_eval_gpu.sh val.json r50.ckpt", R50, "instances_set=val.json"),
    Row("faster_rcnn", "sh run_infer_310.sh old.air coco/val2017 val.json", AGAIN),
    Row("faster_rcnn", "python export.py --ckpt_file r50.ckpt --device_target CPU --file_format MINDIR", R50,
        "checkpoint_file_path=r50.ckpt"),
    Row("faster_rcnn", "python eval.py --model_name faster_rcnn --ann_file val.json --checkpoint_path r50.ckpt", R50,
        "instances_set=val.json checkpoint_file_path=r50.ckpt"),
    # README 002, Mask R-CNN of r1.2
    Row("mask_rcnn", "bash run_distribute_train.sh hccl.json backbone.ckpt", MASK, BODY),
    Row("mask_rcnn", "bash run_standalone_train.sh backbone.ckpt", MASK, BODY),
    Row("mask_rcnn", "bash run_eval.sh val.json mask.ckpt", MASK, "instances_set=val.json"),
    Row("mask_rcnn", "sh run_infer_310.sh old.air coco/val2017 val.json", AGAIN),
    Row("mask_rcnn", "python export.py --ckpt_file mask.ckpt --device_target CPU --file_format MINDIR", MASK,
        "checkpoint_file_path=mask.ckpt"),
    # README 003, CenterNet
    Row("centernet", "bash convert_dataset_to_mindrecord.sh coco records", CN50, "only_create_dataset=True"),
    Row("centernet", "bash run_standalone_train_ascend.sh 0 records", CN50, "mindrecord_dir=records epoch_size=330"),
    Row("centernet", "bash run_standalone_train_ascend.sh 0 records centernet.ckpt", CN50,
        "pre_trained=centernet.ckpt"),
    Row("centernet", "bash run_distributed_train_ascend.sh records hccl.json centernet.ckpt", CN50,
        "pre_trained=centernet.ckpt"),
    Row("centernet", "bash run_standalone_eval_ascend.sh 0 val coco centernet.ckpt", CN50, "eval_split=val"),
    Row("centernet", "bash run_standalone_eval_ascend.sh 0 test coco centernet.ckpt", CN50, "eval_split=test"),
    Row("centernet", "bash run_infer_310.sh net.mindir coco y 0", "any", "coco_root=coco"),
    Row("centernet", "python export.py --device_id 0 --export_format MINDIR --export_load_ckpt centernet.ckpt "
        "--export_name centernet", CN50, "checkpoint_file_path=centernet.ckpt file_name=centernet"),
    Row("centernet", "python train.py --model_name centernet_resnet50 --device_target CPU --distribute false "
        "--need_profiler false --profiler_path ./profiler --epoch_size 1 --train_steps -1 --device_id 0 --device_num 1 "
        "--do_shuffle true --enable_lossscale true --enable_data_sink true --data_sink_steps 1 --enable_save_ckpt true "
        "--save_checkpoint_path ckpt --load_checkpoint_path centernet.ckpt --save_checkpoint_steps 1000 "
        "--save_checkpoint_num 1 --mindrecord_dir records --mindrecord_prefix coco_det.train.mind", CN50,
        "pre_trained=centernet.ckpt keep_checkpoint_max=1 save_checkpoint_steps=1000"),
    Row("centernet", "python eval.py --model_name centernet_resnet50 --device_target CPU --device_id 0 "
        "--load_checkpoint_path centernet.ckpt --data_dir coco --run_mode val --visual_image true --enable_eval true "
        "--save_result_dir results", CN50, "checkpoint_file_path=centernet.ckpt coco_root=coco visual_image=True"),
    # What all READMEs say of ModelArts, with the old default_config.yaml in the code directory
    *(Row("faster_rcnn", f"python {program}.py --enable_modelarts=True {more} --config_path default_config_101.yaml",
          R101, wanted) for program, more, wanted in (
        ("train", "--distribute=True --dataset_path=/cache/data --epoch_size 20 --checkpoint_url=s3://dir/",
         "epoch_size=20"),
        ("eval", "--checkpoint_url=s3://dir/ --checkpoint=./faster_rcnn/a.ckpt --dataset_path=/cache/data",
         "checkpoint_file_path=./faster_rcnn/a.ckpt data_path=/cache/data"),
        ("export", "--file_name=faster_rcnn --file_format=MINDIR --ckpt_file=/cache/checkpoint_path/model.ckpt",
         "checkpoint_file_path=/cache/checkpoint_path/model.ckpt"))),
]


@pytest.fixture(scope="module")
def zoo_checkpoints(tmp_path_factory) -> Path:
    """Checkpoints with the zoo's names; their arrays have one number each, since nothing is computed here."""
    folder = tmp_path_factory.mktemp("zoo")
    for file, golden in CHECKPOINTS.items():
        names = [name for name, _, _ in Golden(golden).parameters()]
        ms.save_checkpoint([{"name": name, "data": ms.Tensor(np.zeros(1, np.float32))} for name in names],
                           str(folder / file))
    return folder


@pytest.fixture
def old_user(shell, zoo_checkpoints, monkeypatch):
    """The shell in a folder with everything that the table names."""
    for file in CHECKPOINTS:
        shutil.copy(zoo_checkpoints / file, shell.cwd / file)
    for file, name in SETTINGS.items():
        shell.file(file, FILES[name])
    for file in ("backbone.ckpt", "old.air", "other.onnx", "net.mindir", "coco/annotations/none.json"):
        shell.file(file)
    shell.file("net.json", json.dumps({"model_name": "ssd300", "classes": ["a"], "batch_size": 1,
                                       "input": {"height": 300, "width": 300}}))
    shell.file("net.yaml", MODELS["ssd300"].config_path.read_text())
    (shell.cwd / "coco/val2017").mkdir()
    main = shell.cwd / "programs" / "main"
    main.write_text((shell.cwd / "programs" / "python").read_text())
    main.chmod(0o755)
    shell.environment["INFER_MAIN"] = str(main)
    monkeypatch.chdir(shell.cwd)
    return shell


def started_by(user, row: Row) -> tuple:
    """(exit code, output, program's name, its arguments) of a command."""
    shell, script, *arguments = shlex.split(row.command)
    if shell == "python":
        return 0, "", Path(script).stem, arguments
    place = ROOT / "scripts" / ("" if script == "docker_start.sh" else row.family) / script
    done = subprocess.run([shell, place, *arguments], cwd=user.cwd, env=user.environment, text=True, timeout=HANGS,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    calls = [call["arguments"] for call in user.calls]
    programs = [words[place:] for words in calls for place, word in enumerate(words) if word.startswith(str(ROOT))]
    return done.returncode, done.stdout, *((Path(programs[-1][0]).stem, programs[-1][1:]) if programs else ("", []))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.command[:60])
def test_a_command_of_the_readmes_starts_today_s_program(old_user, row):
    code, output, program, arguments = started_by(old_user, row)

    if row.model.startswith("!") and code:
        assert code == 2 and row.model[1:] in output
        return
    assert code == 0, output
    if row.model.startswith("!"):
        with pytest.raises(ProjectError) as refused:
            load_config(arguments, program)
        assert row.model[1:] in str(refused.value)
        return
    if not row.model:
        assert old_user.calls
        return
    config = load_config(arguments, {"download_coco": "tools/download_coco"}.get(program, program))
    assert row.model in ("any", config.model.model_name)
    given = config.values()
    for pair in row.settings.split():
        key, value = pair.split("=", 1)
        # Scripts and the names of annotations make paths absolute.
        assert str(given[key]) in (value, str(old_user.cwd / value)), pair


def test_every_script_of_the_readmes_is_in_the_table():
    named = {(row.family, row.command.split()[1]) for row in ROWS if row.command.split()[0] != "python"}
    ours = {(path.parent.name, path.name) for path in ROOT.glob("scripts/*/*.sh")
            if path.name != "family.sh" and not path.name.endswith("_cpu.sh")}
    # Not in the READMEs: scripts for GPUs of the families that the zoo had for Ascend only.
    assert {name for _, name in ours - named} <= {"run_distribute_train_gpu.sh", "run_standalone_train_gpu.sh",
                                                  "run_eval_gpu.sh", "run_distributed_train_gpu.sh",
                                                  "run_standalone_eval_gpu.sh"}
