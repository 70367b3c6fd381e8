"""tools/readme_images.py makes the images of README from a finished demo; a stand-in takes the browser's place."""
import sys

import numpy as np
import pytest

from src.data.images import encode_jpeg, read_image
from tools.readme_images import WIDTH, main

BROWSER = """#!{python}
import shutil, sys
target = next(argument.split("=")[1] for argument in sys.argv if argument.startswith("--screenshot="))
shutil.copy({page!r}, target)
"""


@pytest.fixture
def demo(tmp_path):
    """A folder with what the demo leaves: sheets, a report, drawn detections."""
    jpeg = encode_jpeg(np.full((90, 120, 3), 200, np.uint8))
    for name in ("audit/train/audit.png", "run-1/predict/1.jpg", "run-1/predict/2.jpg", "run-1/eval_val/report.html"):
        (tmp_path / "demo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "demo" / name).write_bytes(jpeg)
    return tmp_path / "demo"


def test_three_images_of_one_width_are_written(demo, tmp_path):
    browser = tmp_path / "browser"
    page = str(demo / "audit/train/audit.png")
    browser.write_text(BROWSER.format(python=sys.executable, page=page), encoding="utf-8")
    browser.chmod(0o755)

    assert main(["--demo", str(demo), "--browser", str(browser), "--output", str(tmp_path / "images")]) == 0

    images = {path.name: read_image(path) for path in (tmp_path / "images").iterdir()}
    assert sorted(images) == ["audit.jpg", "detections.jpg", "report.jpg"]
    assert {image.shape[1] for image in images.values()} == {WIDTH}


def test_a_demo_that_has_not_ended_is_an_error(tmp_path, capsys):
    assert main(["--demo", str(tmp_path)]) == 1
    assert "has no finished run; run make demo first" in capsys.readouterr().err
