import json
import os
import re
from pathlib import Path

import pytest

from src.command_line import load_config
from src.engine.run_folder import describe_run, git_revision, results_folder, run_folder, versions
from src.errors import UsageError
from src.settings.config import Config
from train import only_run_in, open_run


def config(**changed) -> Config:
    return Config(model={"model_name": "tiny"}).replace(**changed) if changed else Config(model={"model_name": "tiny"})


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def an_earlier_run(folder, settings=None):
    """What a run leaves that was stopped after its first checkpoint."""
    (folder / "ckpt_0").mkdir(parents=True)
    (folder / "ckpt_0" / "latest.json").write_text("{}", encoding="utf-8")
    (settings or config()).write(folder / "config.yaml")
    return folder


def test_a_new_run_gets_a_folder_of_its_model_and_time():
    folder = run_folder(config(), resume=False)
    assert folder.is_dir() and re.fullmatch(r"runs/tiny/\d{8}-\d{6}", folder.as_posix())


def test_two_runs_in_one_second_get_two_folders():
    folders = [run_folder(config(), resume=False) for _ in range(3)]
    results = [results_folder(config(), Path("model.ckpt"), "predict") for _ in range(2)]
    assert len({*folders, *results}) == 5
    assert run_folder(config(), resume=True) == max(folders)


def test_a_second_run_in_a_folder_names_the_process_of_the_first(tmp_path):
    message = f"process {os.getpid()} on .*--output_path"
    with only_run_in(tmp_path, config()), pytest.raises(UsageError, match=message), only_run_in(tmp_path, config()):
        pass


def test_the_lock_of_a_run_that_was_killed_locks_nothing(tmp_path):
    (tmp_path / "run.lock").write_text("process 1 on elsewhere")
    with only_run_in(tmp_path, config()):
        assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not (tmp_path / "run.lock").exists()


def test_output_path_names_the_folder(tmp_path):
    assert run_folder(config(output_path=str(tmp_path / "a" / "b")), resume=False) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_resume_takes_the_newest_run(tmp_path):
    for name in ("20250102-000000", "20250103-000000", "20250101-000000"):
        an_earlier_run(tmp_path / "runs" / "tiny" / name)
    assert run_folder(config(), resume=True).name == "20250103-000000"


def test_resume_passes_over_folders_of_other_commands(tmp_path):
    """Evaluation, export and prediction of a foreign checkpoint write beside the runs."""
    run = an_earlier_run(tmp_path / "runs" / "tiny" / "20250103-000000")
    results_folder(config(), tmp_path / "elsewhere" / "model.ckpt", "predict")
    assert run_folder(config(), resume=True).resolve() == run


@pytest.mark.parametrize("settings", [{}, {"output_path": "missing"}])
def test_with_nothing_to_resume_a_new_run_starts(settings, capsys):
    resumed = config(resume=True, **settings)
    folder = run_folder(resumed, resume=True)
    (folder / "ckpt_0").mkdir()     # of a run that was stopped before it saved anything, with other settings
    config(epoch_size=3, **settings).write(folder / "config.yaml")
    open_run(resumed, folder)
    assert f"{folder} holds nothing to resume; a new run starts there" in capsys.readouterr().out
    assert "epoch_size: 500" in (folder / "config.yaml").read_text()


def test_a_folder_that_cannot_be_written_is_named_with_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file.run cannot be made by the user ada \(Not a directory\).*--output_path"):
        run_folder(config(output_path=str(tmp_path / "file" / "run")), resume=False)
    monkeypatch.setattr("os.access", lambda folder, _: folder != tmp_path)    # root may write everywhere
    with pytest.raises(UsageError, match="cannot be written by the user ada .*--result_path"):
        results_folder(config(result_path=str(tmp_path)), tmp_path / "a.ckpt", "eval")


# What train.py makes of the folder

def test_a_folder_that_holds_a_run_is_not_trained_into(tmp_path):
    folder = an_earlier_run(tmp_path / "run")
    before = (folder / "config.yaml").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="holds a run already.*--resume"):
        open_run(config(epoch_size=7), folder)
    assert (folder / "config.yaml").read_text(encoding="utf-8") == before


def test_a_run_is_continued_without_a_change_before_its_data_are_compared(tmp_path):
    settings = load_config(["--model_name=ssd300", "--epoch_size=7"], "train")
    folder = an_earlier_run(tmp_path / "run", settings)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    open_run(settings.replace(resume=True), folder)
    with pytest.raises(UsageError, match="was started with other settings: epoch_size"):
        open_run(settings.replace(epoch_size=8, resume=True), folder)

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_never_saved_may_be_started_again(tmp_path):
    (tmp_path / "run").mkdir()
    config(epoch_size=3).write(tmp_path / "run" / "config.yaml")
    open_run(config(epoch_size=7), tmp_path / "run")
    assert "epoch_size: 7" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


# Results of the other commands

def test_results_go_into_the_run_that_the_model_is_from(tmp_path):
    run = an_earlier_run(tmp_path / "run")
    assert results_folder(config(), run / "ckpt_0" / "a.ckpt", "eval_val") == run / "eval_val"


def test_results_of_a_foreign_model_get_a_folder_of_their_own(tmp_path):
    folder = results_folder(config(), tmp_path / "downloads" / "a.ckpt", "predict")
    assert folder.is_dir() and re.fullmatch(r"runs/tiny/predict-\d{8}-\d{6}", folder.as_posix())


def test_result_path_wins(tmp_path):
    run = an_earlier_run(tmp_path / "run")
    wanted = config(result_path=str(tmp_path / "here"))
    assert results_folder(wanted, run / "ckpt_0" / "a.ckpt", "predict") == tmp_path / "here"


def test_every_evaluation_and_prediction_has_a_folder_of_its_own(tmp_path):
    model = an_earlier_run(tmp_path / "run") / "ckpt_0" / "best_map.ckpt"
    for name in ("eval_val", "eval_val-2", "eval_val-3"):
        folder = results_folder(config(), model, "eval_val", "predictions.json")
        assert folder == tmp_path / "run" / name
        (folder / "predictions.json").write_text("[]")
    given = config(result_path=str(tmp_path / "run" / "eval_val-2"))
    with pytest.raises(UsageError, match=r"eval_val-2 holds the results of an earlier call \(predictions.json\)"):
        results_folder(given, model, "eval_val", "predictions.json")
    assert results_folder(given, model, "export") == tmp_path / "run" / "eval_val-2"


# Settings and versions

def test_settings_and_versions_are_written(tmp_path):
    describe_run(tmp_path, config(epoch_size=7))
    assert "epoch_size: 7" in (tmp_path / "config.yaml").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))
    assert content["command"] and re.match(r"\d+\.\d+", content["mindspore"]) and content["python"].startswith("3.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "versions.json"]


def test_a_missing_package_is_none(monkeypatch):
    monkeypatch.setattr("src.engine.run_folder.PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] is None


def test_the_revision_is_that_of_the_project_or_none(monkeypatch, tmp_path):
    assert git_revision() is None or re.fullmatch(r"[0-9a-f]{12}(\+changes)?", git_revision())
    monkeypatch.setattr("src.engine.run_folder.PROJECT_ROOT", tmp_path)
    assert git_revision() is None


def test_without_git_there_is_no_revision(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None


@pytest.mark.parametrize("variable", ["MS_WORKER_NUM", "OMPI_COMM_WORLD_SIZE", "RANK_SIZE"])
def test_several_processes_need_one_folder(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    with pytest.raises(UsageError, match="choose it with --output_path"):
        run_folder(config(), resume=False)
    with pytest.raises(UsageError, match="choose it with --result_path"):
        results_folder(config(), tmp_path / "a.ckpt", "eval")
    assert run_folder(config(output_path="one"), resume=False).is_dir()
