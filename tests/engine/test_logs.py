import json
import re
import sys

import cv2
import numpy as np
import pytest

from src.engine.curves import draw_curves, read_metrics
from src.engine.live_page import live_page
from src.engine.logs import TrainLog, drop_after, step_line
from src.engine.tensorboard import EventWriter

NUMBERS = {"lr": 0.05, "grad_norm": 1.5}


def strict(path) -> list:
    """The lines as standard JSON, which knows no NaN."""
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_have_the_form_of_the_old_zoo(tmp_path):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": 6.25, "cls_loss": 4.0, "loc_loss": 2.25}, **NUMBERS)
        log.epoch(2, 1, seconds=3.0, steps=2, data_share=0.25)
        log.evaluation(2, 1, {"AP": 0.125, "AP50": 0.25})
        log.say("stopped early")
    assert (tmp_path / "loss_0.log").read_text(encoding="utf-8").splitlines() == [
        "epoch: 1 step: 1, loss is 6.25, cls_loss: 4.00000, loc_loss: 2.25000, lr: 0.050000",
        "epoch time: 3000.000 ms, per step time: 1500.000 ms",
        "epoch: 1, mAP: 0.125",
        "stopped early",
    ]
    # How scripts around the zoo read the loss.
    text = (tmp_path / "loss_0.log").read_text(encoding="utf-8")
    assert re.findall(r"epoch: (\d+) step: (\d+), loss is ([\d.]+)", text) == [("1", "1", "6.25")]


def test_metrics_hold_the_same_numbers(tmp_path):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        log.step(3, 2, 1, {"loss": 6.25, "cls_loss": 4.0}, **NUMBERS)
        log.epoch(4, 2, seconds=3.0, steps=2, data_share=0.25)
        log.evaluation(4, 2, {"AP": np.float64(0.125), "AP50": np.float32(0.25)})
    step, epoch, evaluation = strict(tmp_path / "metrics.jsonl")
    assert {key: step[key] for key in ("step", "epoch", "loss", "cls_loss", "lr", "grad_norm")} == {
        "step": 3, "epoch": 2, "loss": 6.25, "cls_loss": 4.0, "lr": 0.05, "grad_norm": 1.5}
    assert (epoch["epoch_seconds"], epoch["data_share"]) == (3, 0.25)
    assert (evaluation["step"], evaluation["AP"], evaluation["AP50"]) == (4, 0.125, 0.25)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_null_in_the_metrics_and_a_word_in_the_log(tmp_path, value):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": value}, lr=0.1, grad_norm=value)
    (line,) = strict(tmp_path / "metrics.jsonl")
    assert line["loss"] is None and line["grad_norm"] is None and line["lr"] == 0.1
    assert f"loss is {value}" in (tmp_path / "loss_0.log").read_text(encoding="utf-8")


def test_the_terminal_of_rank_0_has_the_bar_and_the_sentences(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for rank in (0, 1):
        with TrainLog(tmp_path, rank, total_steps=4) as log:
            log.say(f"sentence of rank {rank}")
            log.advance()
    out, err = capfd.readouterr()
    assert out == "" and "sentence of rank 0" in err and "/4" in err and "rank 1" not in err
    assert (tmp_path / "loss_1.log").exists() and (tmp_path / "metrics_1.jsonl").exists()


def test_metrics_are_on_disk_as_soon_as_they_are_logged(tmp_path):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": 1.0}, **NUMBERS)
        assert len(strict(tmp_path / "metrics.jsonl")) == 1


# Going on after a crash

def lines(*steps) -> str:
    return "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in steps)


@pytest.mark.parametrize("text, kept", [
    (lines(1, 2, 3, 4), [1, 2]),
    (lines(1, 2) + '{"step": 3, "lo', [1, 2]),
    (lines(1) + '{"step": 2, "loss"', [1]),
    (lines(1) + '{"step": 2, "loss": 1.0}', [1, 2]),    # whole, only its end of line is missing
    (lines(1) + "\0" * 64, [1]),                        # a block that was allocated and never written
    ("", []),
])
def test_lines_beyond_the_resumed_step_and_a_torn_last_one_are_dropped(tmp_path, text, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text, encoding="utf-8")
    drop_after(path, 2)
    assert [line["step"] for line in strict(path)] == kept
    assert path.read_text(encoding="utf-8") == lines(*kept)
    assert list(tmp_path.iterdir()) == [path]


def test_a_resumed_log_appends_to_what_is_left(tmp_path):
    for done, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with TrainLog(tmp_path, rank=0, total_steps=4, done_steps=done) as log:
            for step in steps:
                log.step(step, 1, step, {"loss": 10.0 * done + step}, **NUMBERS)
    assert [(line["step"], line["loss"]) for line in strict(tmp_path / "metrics.jsonl")] == [
        (1, 1), (2, 2), (3, 23), (4, 24)]


def test_there_is_nothing_to_drop_before_the_first_run(tmp_path):
    drop_after(tmp_path / "metrics.jsonl", 5)
    assert list(tmp_path.iterdir()) == []


# Curves

@pytest.mark.parametrize("evaluated", [False, True])
def test_curves_are_a_picture(tmp_path, evaluated):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        for step in (1, 2, 3):
            log.step(step, 1, step, {"loss": float("nan") if step == 2 else 1.0, "cls_loss": 0.5}, **NUMBERS)
        if evaluated:
            log.evaluation(3, 1, {"AP": 0.1, "AP50": 0.2})
    png = draw_curves(read_metrics(tmp_path / "metrics.jsonl"))
    assert png.startswith(b"\x89PNG")
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] > image.shape[0] > 100 and image.std() > 0


def test_curves_and_page_stand_in_the_run_folder_after_an_evaluation_and_at_an_interrupt(tmp_path):
    log = TrainLog(tmp_path, rank=0, total_steps=9)
    with pytest.raises(KeyboardInterrupt), log:
        log.step(1, 1, 1, {"loss": 1.0}, **NUMBERS)
        log.evaluation(1, 1, {"AP": 0.25, "AP50": 0.5, "val_loss": 1.375}, is_best=True)
        page = (tmp_path / "live.html").read_text(encoding="utf-8")
        assert "Running: step 1 of 9" in page and "0.250" in page and "1.375" in page and 'http-equiv="refresh"' in page
        (tmp_path / "curves.png").unlink()
        raise KeyboardInterrupt
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "live.html").read_text(encoding="utf-8")
    assert "Ended: step 1 of 9" in page and 'http-equiv="refresh"' not in page and "<script" not in page


def test_the_validation_loss_stands_beside_the_ap_and_in_the_curves(tmp_path, capfd):
    drawn = []
    for value in (None, 3.5):
        folder = tmp_path / str(value)
        folder.mkdir()
        with TrainLog(folder, rank=0, total_steps=2) as log:
            log.step(1, 1, 1, {"loss": 1.0}, **NUMBERS)
            log.evaluation(1, 1, {"AP": 0.25, "AP50": 0.5, **({} if value is None else {"val_loss": value})})
        drawn.append(draw_curves(read_metrics(folder / "metrics.jsonl")))
    assert "AP 0.250, AP50 0.500, validation loss 3.500" in capfd.readouterr().err
    assert drawn[0] != drawn[1]


def test_other_ranks_draw_nothing(tmp_path):
    with TrainLog(tmp_path, rank=1, total_steps=9) as log:
        log.step(1, 1, 1, {"loss": 1.0}, **NUMBERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss_1.log", "metrics_1.jsonl"]


def test_the_name_of_a_run_folder_is_text_in_the_page():
    line = {"step": 1, "epoch": 1, "loss": 1.0, "lr": 0.1}
    assert "&lt;b&gt;" in live_page("<b>", [line], b"png", 9, running=True)


def test_event_files_hold_the_numbers_of_the_metrics(tmp_path):
    with TrainLog(tmp_path, rank=0, total_steps=9, events=EventWriter(tmp_path / "events")) as log:
        log.step(1, 1, 1, {"loss": 1.0, "cls_loss": float("nan")}, **NUMBERS)
        log.evaluation(1, 1, {"AP": 0.25, "AP50": 0.5})
    (path,) = (tmp_path / "events").iterdir()
    content = path.read_bytes()
    assert b"training/loss" in content and b"evaluation/AP50" in content and b"training/cls_loss" not in content


def test_curves_of_a_run_whose_first_losses_are_not_finite(tmp_path):
    with TrainLog(tmp_path, rank=0, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": float("nan")}, lr=0.1, grad_norm=float("nan"))
    assert draw_curves(read_metrics(tmp_path / "metrics.jsonl")).startswith(b"\x89PNG")


def test_there_are_no_curves_before_the_first_step(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    assert draw_curves(read_metrics(tmp_path / "metrics.jsonl")) is None


def test_faster_and_mask_r_cnn_s_line_ends_with_the_total_as_in_their_readmes():
    losses = {"total_loss": 0.52655, "rpn_loss": 0.12054, "rcnn_loss": 0.40601, "rcnn_reg_loss": 0.14746}
    assert step_line(1, 7393, losses, 0.04) == ("epoch: 1 step: 7393, rpn_loss: 0.12054, rcnn_loss: 0.40601, "
                                                "rcnn_reg_loss: 0.14746, lr: 0.04000, total_loss: 0.52655")


def test_in_the_log_files_of_the_scripts_all_lines_of_the_zoo_are_printed(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("EVERY_LINE", "1")   # scripts/common.sh
    with TrainLog(tmp_path, 0, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": 6.25}, **NUMBERS)
        log.epoch(1, 1, seconds=3.0, steps=2, data_share=0.25)
        log.evaluation(1, 1, {"AP": 0.125, "AP50": 0.25})
    assert capfd.readouterr().out.splitlines() == (tmp_path / "loss_0.log").read_text().splitlines()


def test_without_a_terminal_a_line_is_printed_every_30_seconds(tmp_path, capfd, monkeypatch):
    clock = [1000.0]
    monkeypatch.delenv("EVERY_LINE", raising=False)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with TrainLog(tmp_path, 0, total_steps=100, done_steps=20) as log:
        for step in range(21, 61):
            clock[0] += 100 if step == 21 else 2     # the first one compiles the network
            log.step(step, 1, step, {"loss": 6.25}, **NUMBERS)
            log.epoch(step, 1, seconds=2.0, steps=1, data_share=0.25)
        log.evaluation(60, 1, {"AP": 0.125, "AP50": 0.25})
    printed = capfd.readouterr().out.splitlines()
    assert [line for line in printed if "mAP" in line] == ["epoch: 1, mAP: 0.125"]
    assert printed[:3] == [f"epoch: 1 step: {step}, loss is 6.25, lr: 0.050000 (step {step} of 100{left})"
                           for step, left in ((21, ""), (36, ", 0:02:08 left"), (51, ", 0:01:38 left"))]
    assert len(printed) == 4 and (tmp_path / "loss_0.log").read_text().count("epoch: 1 step: ") == 40


@pytest.mark.parametrize("environment, printed", [({}, 0), ({"RANK_TABLE_FILE": "hccl.json"}, 1)])
def test_other_ranks_print_where_each_has_a_log_of_its_own(tmp_path, capfd, monkeypatch, environment, printed):
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with TrainLog(tmp_path, 1, total_steps=4) as log:
        log.step(1, 1, 1, {"loss": 6.25}, **NUMBERS)
    assert capfd.readouterr().out.count("epoch: 1 step: 1, loss is 6.25") == printed
