"""Files of the old zoo's CenterNet: groups of keys, two schedules of which one is chosen, Python code as values."""
from __future__ import annotations

import pytest

from src.command_line import load_config
from src.errors import ConfigError

OLD_FILE = """
coco_data_dir: ""
mindrecord_prefix: "coco_det.train.mind"
load_checkpoint_path: "centernet.ckpt"
distribute: 'false'
epoch_size: 1
run_mode: "test"
visual_image: "false"
dataset_config:
    num_classes: 80
    max_objs: 64
    input_res_train: [512, 512]
    flip_prop: 0.25
    mean: {mean}
    coco_classes: ['background', 'person']
net_config:
    down_ratio: 4
    num_classes: 80
    block_class: [3, 4, 6, 3]
    wh_weight: 0.2
train_config:
    batch_size: 16
    loss_scale_value: 512
    optimizer: 'Adam'
    lr_schedule: '{schedule}'
    Adam:
        weight_decay: 0.5
        decay_filter: "lambda x: x.name.endswith('.bias')"
    PolyDecay:
        learning_rate: 0.0003
        power: 4.0
        eps: 1e-7
        warmup_steps: 30
    MultiDecay:
        learning_rate: 0.0006
        eps: 1e-7
        warmup_steps: 60
        multi_epochs: [3, 4]
        factor: 10
eval_config:
    SOFT_NMS: False
    keep_res: False
    multi_scales: [1.0, 0.5]
    K: 50
    score_thresh: 0.4
---
epoch_size: "passes"
"""


def load(tmp_path, mean="[0.1, 0.2, 0.3]", schedule="MultiDecay"):
    path = tmp_path / "old.yaml"
    path.write_text(OLD_FILE.format(mean=mean, schedule=schedule))
    return load_config(["--config_path", str(path), "--model_name", "centernet_resnet50"], "train")


def test_groups_are_read(tmp_path, capsys):
    config = load(tmp_path)
    assert (config.data.max_objs, config.data.flip_prob, config.data.mean) == (64, 0.25, [0.1, 0.2, 0.3])
    assert (config.model.wh_weight, config.data.num_classes) == (0.2, 80)
    assert (config.train.batch_size, config.optimizer.loss_scale, config.optimizer.weight_decay) == (16, 512, 0.5)
    assert (config.eval.soft_nms, config.eval.keep_res, config.eval.multi_scales, config.eval.K) == (
        False, False, [1.0, 0.5], 50)
    assert (config.eval.eval_split, config.eval.visual_image, config.runtime.run_distribute) == ("test", False, False)
    assert config.eval.report_score_threshold == 0.4 and config.train.pre_trained == "centernet.ckpt"
    warning = capsys.readouterr().err
    assert all(f"{key} (" in warning for key in ("block_class", "mindrecord_prefix"))


@pytest.mark.parametrize("schedule, lr, warmup", [("MultiDecay", 0.0006, 60), ("PolyDecay", 0.0003, 30)])
def test_only_the_chosen_schedule_counts(tmp_path, schedule, lr, warmup):
    settings = load(tmp_path, schedule=schedule).optimizer
    assert (settings.lr_type, settings.lr, settings.warmup_steps) == (schedule, lr, warmup)


def test_python_code_is_not_run_but_named_with_what_to_write_instead(tmp_path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, mean="np.array((0.4, 0.4, 0.5), dtype=np.float32)")
    assert "old.yaml:14: mean holds the Python expression 'np.array((0.4" in str(error.value)
    assert "not evaluated; write the plain value (a number, a text or a list) or leave the key out" in str(error.value)
