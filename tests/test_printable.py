"""Names from outside give no orders to the terminal, whichever way they are shown."""
from __future__ import annotations

import io
import sys

import pytest

from src.data.fonts import Text, drawable_names
from src.engine.run_folder import versions
from src.entry import run
from src.errors import DatasetError
from src.printable import PrintableStream, counted, printable, printable_stream, without_secrets

# Clear the screen; set the window's title; go back over what stands there; a right-to-left override; a byte of Latin-1
# in a file name.
HOSTILE = "a\x1b[2Jb\x1b]0;owned\x07c\x08d\x9be\u202ef\udce4"
SHOWN = r"a\x1b[2Jb\x1b]0;owned\x07c\x08d\x9be\u202ef\udce4"


def test_control_characters_become_escapes_and_letters_of_all_languages_stay():
    assert printable(HOSTILE) == SHOWN
    letters = "täxi 猫 \u05d0 e\u0301 \N{GRINNING FACE}\u200d"
    assert printable(letters) == letters
    assert printable("one\ntwo") == r"one\ntwo" and printable("one\ntwo", "\n") == "one\ntwo"
    assert printable(7) == "7"


def test_what_a_program_prints_and_the_message_it_ends_with_are_escaped(capsys):
    def main():
        print("ground truth:", HOSTILE)
        print("skipped", HOSTILE, file=sys.stderr)
        sys.stderr.writelines([HOSTILE, "\n"])
        raise DatasetError(f"{HOSTILE} is broken\nand so on")

    before = sys.stdout, sys.stderr
    assert run(main) == 1
    assert (sys.stdout, sys.stderr) == before
    output = capsys.readouterr()
    assert output.out == f"ground truth: {SHOWN}\n"
    assert output.err == f"skipped {SHOWN}\n{SHOWN}\nerror: {SHOWN} is broken\nand so on\n"


def test_a_progress_bar_keeps_its_carriage_return_and_a_stream_is_wrapped_once():
    stream = PrintableStream(io.StringIO())
    assert stream.write("\r50%\x1b[A") == 7
    assert stream.getvalue() == "\r50%\\x1b[A"
    assert printable_stream(stream) is stream


def test_a_defect_leaves_no_orders_in_the_trace(tmp_path, monkeypatch):
    from src import entry

    monkeypatch.setattr(entry, "_trace_folder", tmp_path)

    def main():
        raise RuntimeError(HOSTILE)

    assert run(main) == 1
    assert f"RuntimeError: {SHOWN}" in (tmp_path / "error.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("drawn", [lambda name: Text(name, 12).text, lambda name: drawable_names([name])[0]])
def test_drawn_names_are_escaped(drawn):
    assert drawn("cat\x1b[2J") == r"cat\x1b[2J"


@pytest.mark.parametrize("text, shown", [
    ("s3://bucket/data", "s3://bucket/data"),
    ("copying https://me:s3cr3t@host/a to /b", "copying https://***@host/a to /b"),
    ("--data_url https://h/a?X-Amz-Signature=ab1&x=1&AccessKeyId=cd2&Expires=9",
     "--data_url https://h/a?X-Amz-Signature=***&x=1&AccessKeyId=***&Expires=9"),
    ("mail me@host.org, ratio=0.5", "mail me@host.org, ratio=0.5")])
def test_credentials_in_addresses_are_not_shown(text, shown, monkeypatch, capsys):
    assert without_secrets(text) == shown
    run(lambda: print(text))
    assert capsys.readouterr().out == shown + "\n"
    monkeypatch.setattr(sys, "argv", ["train.py", text])
    assert shown in versions()["command"]


def test_a_number_and_its_noun():
    numbers = ((0, "image"), (1, "image"), (2, "box"), (1, "class"), (3, "class"), (2, "entry"))
    assert [counted(number, noun) for number, noun in numbers] == [
        "0 images", "1 image", "2 boxes", "1 class", "3 classes", "2 entries"]
