from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.command_line import load_config
from src.errors import ConfigError, ProjectError, UsageError
from src.models import CONFIG_ROOT, FAMILIES, MODELS, config_class
from src.settings import config as configuration
from src.settings import yaml_text
from src.settings.config import Config, fields
from src.settings.files import read_file
from src.settings.flags import split_flags
from src.settings.old_keys import ALIASES, DEAD_KEYS, SWITCHES
from src.ssd.config import SSDConfig
from tools import config_files
from tools.document_settings import generated_files

SSD300 = MODELS["ssd300"].config_path

# The old zoo's ssd_mobilenet_v1_fpn_config.yaml, with only its model_name changed: values, help, choices.
OLD_FILE = """
enable_modelarts: False
data_url: ""
device_target: Ascend
checkpoint_path: "./checkpoint/"
checkpoint_file_path: "mobilenet.ckpt"
model_name: "ssd300"
global_step: 0
num_ssd_boxes: -1
use_global_norm: True
lr_init: 0.01333
weight_decay: 4e-05
freeze_layer: 'None'
pre_trained: ""
aspect_ratios: [[], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]]
classes: ['background', 'person', 'no']
num_classes: 3
file_format: MINDIR
---
device_target: 'Target device type'
---
device_target: ['Ascend', 'GPU', 'CPU']
"""


def load(*flags) -> Config:
    return load_config(["--model_name", "ssd300", *flags], "train")


def load_text(tmp_path: Path, text: str, *flags) -> Config:
    path = tmp_path / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(["--config_path", str(path), *flags], "train")


# --- the schema

@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_has_one_section_and_a_description(family):
    models = [section.annotation for section in config_class(family).model_fields.values()]
    names = [key for model in models for key in model.model_fields]
    assert len(names) == len(set(names))
    assert not [key for model in models for key, field in model.model_fields.items() if not field.description]
    assert "config_path" not in names and not set(names) & set(configuration.SECTIONS)


def test_old_spellings_lead_to_keys_and_are_no_keys_themselves():
    known = {key for family in FAMILIES for key in fields(config_class(family))}
    assert set(ALIASES.values()) | {key for key, _ in SWITCHES.values()} <= known
    words = [*ALIASES, *SWITCHES, *DEAD_KEYS]
    assert len(words) == len(set(words)) and not set(words) & known


# --- generated files

CONFIG_FILES = sorted(CONFIG_ROOT.glob("*/*.yaml"))


def test_generated_files_are_current():
    generated = generated_files()
    assert set(CONFIG_FILES) <= set(generated) and {row.config_path for row in MODELS.values()} <= set(CONFIG_FILES), (
        "a file below config/ has no entry in tools/presets/<family>.yaml; add it and run: make config")
    outdated = [path.name for path, text in generated.items()
                if not path.is_file() or path.read_text(encoding="utf-8") != text]
    assert not outdated, f"{outdated} do not agree with the schema and tools/presets; run: make config"


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_a_config_file_is_complete_and_says_what_it_is(path):
    given = read_file(path)
    assert [setting.name for setting in given] == list(fields(config_class(path.parent.name)))
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert all(f"# {word} " in header for word in ("paper", "expected", "command"))
    assert f"config/{path.parent.name}/{path.name}" in header


def test_a_preset_with_an_unknown_setting_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(config_files, "PRESETS", tmp_path)
    for name, text in (("values", "values: {epoch_sise: 3, model_name: ssd300}"),
                       ("notes", "values: {model_name: ssd300}\n  notes: {epoch_sise: x}"), ("parts", "value: {}")):
        (tmp_path / "ssd.yaml").write_text(f"own:\n  header: a\n  {text}\n")
        with pytest.raises(ConfigError, match="ssd.yaml.*" + ("epoch_sise" if name != "parts" else "value")):
            config_files.config_files()


# --- the values of the YAML files


def test_ssd300_file_holds_the_zoo_s_values():
    config = load()
    assert config.model.img_shape == [300, 300] and config.model.num_default == [3, 6, 6, 6, 6, 6]
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.05, 0.9, 0.00015)
    assert (config.train.epoch_size, config.train.batch_size) == (500, 32)
    assert (config.eval.nms_threshold, config.eval.min_score, config.eval.max_boxes) == (0.6, 0.1, 100)


# --- precedence and spelling

def test_flag_wins_over_file_and_file_over_default(tmp_path):
    config = load_text(tmp_path, "model: {model_name: ssd300}\ntrain:\n  epoch_size: 7\n  seed: 5\n", "--seed=9")
    assert (config.train.epoch_size, config.train.seed, config.train.batch_size) == (7, 9, 32)


def test_flags_in_all_forms():
    config = load("--epoch_size", "20", "--batch-size=8", "--run_eval", "--resume", "False", "--max_per_image", "7",
                  "--img_shape", "160,192", "--classes", "circle,rectangle", "--pre_trained", "none",
                  "--audit_policy", "missing_image=drop,outside_box=keep", "--device_target", "gpu", "--seed", "3",
                  "--seed", "4")
    assert (config.train.epoch_size, config.train.batch_size, config.train.seed) == (20, 8, 4)
    assert config.train.run_eval is True and config.runtime.resume is False
    assert config.eval.max_per_image == 7 and config.model.img_shape == [160, 192]
    assert config.data.classes == ["circle", "rectangle"] and config.train.pre_trained is None
    assert config.data.audit_policy == {"missing_image": "drop", "outside_box": "keep"}
    assert config.runtime.device_target == "GPU"


@pytest.mark.parametrize("old, key", ALIASES.items())
def test_every_old_spelling_is_a_flag(old, key):
    text = {"classes": "[a]", "file_format": "ONNX", "eval_split": "test", "lr_type": "PolyDecay",
            "model_name": "ssd300"}.get(key, "1")
    name, section = next((name, fields(config_class(row.family))[key][0]) for name, row in MODELS.items()
                         if key in fields(config_class(row.family)))
    changed, wanted = (load_config(["--model_name", name, f"--{flag}", text], "eval") for flag in (old, key))
    assert getattr(getattr(changed, section), key) == getattr(getattr(wanted, section), key)


def test_old_switches_become_values():
    assert load("--use_global_norm", "True").optimizer.grad_clip_norm == 1.0


# --- errors

@pytest.mark.parametrize("flags, words", [
    (["--epoch_sise", "3"], "flag --epoch_sise: unknown key 'epoch_sise'; did you mean epoch_size"),
    (["--zzzzzz", "3"], "unknown key 'zzzzzz'; --help lists all keys"),
    (["--epoch_size", "many"], "flag --epoch_size: epoch_size = 'many': .*expected int"),
    (["--epoch_size", "0"], "epoch_size = '0': .*greater than or equal to 1"),
    (["--lr", "inf"], "lr = 'inf': .*finite"),
    (["--run_eval", "perhaps"], "run_eval = 'perhaps': .*expected true | false"),
    (["--file_format", "PDF"], "file_format = 'PDF': .*expected MINDIR"),
    (["--img_shape", "300"], "img_shape = '300': .*at least 2 items"),
    (["--img_shape", "[300"], "img_shape = '\\[300': the brackets cannot be read"),
    (["--audit_policy", "missing_image=ignore"], "audit_policy"),
    (["--num_default", "1,2"], "section model: .*num_default 2, extras_in_channels 6"),
    (["--ckpt_file", "a", "--model_path", "b"], "model_path = 'b' contradicts ckpt_file = 'a'"),
    (["--use_global_norm", "7"], "use_global_norm = '7'; expected true | false"),
])
def test_a_wrong_flag_is_named_with_what_is_expected(flags, words):
    with pytest.raises(ConfigError, match=words):
        load(*flags)


@pytest.mark.parametrize("text, words", [
    ("model_name: ssd300\ntrain: {epoch_size: true}", "given.yaml:2: epoch_size = True: .*expected int"),
    ("model_name: ssd300\ntrain: {epoch_size: 1.5}", "given.yaml:2: epoch_size = 1.5: .*expected int"),
    ("model_name: ssd300\ntrain:\n  lr: 0.1", "given.yaml:3: lr belongs in section 'optimizer', not 'train'"),
    ("model_name: ssd300\ntrain: 5", "given.yaml:2: 'train' is a section"),
    ("model_name: ssd300\nclasses: np.zeros([1])", "given.yaml:2: classes holds the Python expression"),
    ("model_name: ssd300\nfile_name: 'lambda x: x'", "given.yaml:2: file_name holds the Python expression"),
    ("train: {epoch_size: 5}", "no model_name"),
    ("[1, 2]", "no settings found"),
    ("", "no settings found"),
    ("a: 1\n---\na: 1\n---\na: 1\n---\na: 1", "found 4"),
])
def test_a_wrong_file_is_named_with_its_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_text(tmp_path, text)


def test_without_a_model_the_names_are_listed():
    for argv in ([], ["--epoch_size", "3"], ["--model_name", "ssd9000"]):
        with pytest.raises(UsageError, match="ssd300"):
            load_config(argv, "train")


def test_arguments_without_a_flag_are_refused():
    with pytest.raises(UsageError, match="unexpected argument 'picture.jpg'"):
        split_flags(["--run_eval", "True", "picture.jpg"])


# --- files of the old zoo

def test_an_old_file_loads_and_names_its_dead_keys_once(tmp_path, capsys):
    config = load_text(tmp_path, OLD_FILE, "--device_target", "CPU")
    assert config.optimizer.weight_decay == 4e-05 and config.optimizer.grad_clip_norm == 1.0
    assert config.eval.checkpoint_file_path == "mobilenet.ckpt"
    assert config.train.freeze_layer == "none" and config.train.pre_trained is None
    assert config.data.classes == ["person", "no"] and config.data.num_classes == 3
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1 and "checkpoint_path (" in warnings[0] and "global_step (" in warnings[0]


@pytest.mark.parametrize("classes, words", [
    ("[]", "no class is named"), ("background", "no class is named"), ("cat,dog,cat", "cat occurs more than once"),
    ("background,cat,background,background", "background occurs more than once"),
])
def test_classes_name_each_class_once(classes, words):
    with pytest.raises(ConfigError, match=f"flag --classes: classes = .*{words}"):
        load_config(["--model_name", "ssd300", "--classes", classes], "train")


def test_checkpoint_path_is_dead_in_an_old_ssd_file_but_means_the_checkpoint_as_a_flag(tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text(OLD_FILE)
    for flags, model in ([], "mobilenet.ckpt"), (["--checkpoint_path", "b.ckpt"], "b.ckpt"):
        assert load_config(["--config_path", str(path), *flags], "eval").eval.checkpoint_file_path == model


def test_empty_spellings_of_an_old_file_do_not_contradict(tmp_path):
    config = load_text(tmp_path, "model_name: ssd300\nckpt_file: ''\nexport_load_ckpt: a.ckpt\nckpt_path: ''\n")
    assert config.eval.checkpoint_file_path == "a.ckpt"


# --- writing, comparing

def test_the_written_file_loads_to_an_equal_configuration(tmp_path):
    config = load("--classes", "[no, '1e3', \"a: b\", ~x]", "--audit_policy", "missing_image=drop", "--lr", "5e-07")
    config.write(tmp_path / "run.yaml")
    again = load_config(["--config_path", str(tmp_path / "run.yaml")], "eval")
    assert again == config and again.differences(config) == []
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml"}


def test_replace_checks_and_keeps_the_rest():
    config = load("--seed", "7")
    changed = config.replace(epoch_size=2)
    assert (changed.train.epoch_size, changed.train.seed, config.train.epoch_size) == (2, 7, 500)
    with pytest.raises(ConfigError, match="did you mean epoch_size"):
        config.replace(epoch_sise=2)


@pytest.mark.parametrize("flags, same", [
    (["--train_steps", "10"], True),
    (["--num_parallel_workers", "1", "--output_path", "elsewhere", "--resume"], True),
    (["--lr", "0.01"], False),
    (["--batch_size", "4"], False),
    (["--seed", "2"], False),
    (["--classes", "a,b"], False),
])
def test_what_decides_the_weights_is_compared(flags, same):
    assert (load().differences(load(*flags)) == []) is same


# --- any input

@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), min_size=1, max_size=4))
def test_mutated_files_raise_only_project_errors(tmp_path, changes):
    data = bytearray(OLD_FILE.encode())
    for place, patch in changes:
        data[place % len(data):place % len(data) + len(patch)] = patch
    path = tmp_path / "mutated.yaml"
    path.write_bytes(bytes(data))
    try:
        load_config(["--config_path", str(path)], "train")
    except ProjectError as error:
        assert str(error)


KEYS = st.sampled_from([*fields(SSDConfig), *ALIASES, *SWITCHES, *DEAD_KEYS, "", "x"])
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(
    ["[", "{a: ", "[[1]]", "1e999", "-1", "{1: 2}", "9" * 5000, "\ud800", "a=b,a", "=", "true"]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KEYS, TEXTS), max_size=4))
def test_any_flags_raise_only_project_errors_or_reload(pairs):
    try:
        config = load(*(f"--{key}={text}" for key, text in pairs if key != "model_name"))
    except ProjectError as error:
        assert str(error)
        return
    documents, _ = yaml_text.parse(config.dump_yaml(), "dump")
    assert type(config).model_validate(documents[0]) == config
