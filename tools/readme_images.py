"""Make docs/images from the results of `make demo`: python tools/readme_images.py [--demo FOLDER] [--browser PROGRAM]

Needs a Chromium to photograph the report (Debian: apt install chromium). The newest run in the folder is shown.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from src.data.drawing import contact_sheet  # noqa: E402
from src.data.images import encode_jpeg, read_image  # noqa: E402
from src.errors import ProjectError, UsageError  # noqa: E402
from src.files import write_file  # noqa: E402

WIDTH = 860         # of every image, in pixels, about as wide as a README is shown
REPORT = (1100, 1500)   # the part of the report that is photographed: width, height in pixels
AUDIT_ROWS = 0.5    # fraction of the audit's sheet that is kept, its upper rows


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the images of README from the results of `make demo`.")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of the demo (default: demo)")
    parser.add_argument("--browser", default="chromium", help="Chromium or Chrome (default: chromium)")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="default: docs/images")
    options = parser.parse_args(arguments)
    try:
        make_images(options.demo, options.browser, options.output)
    except (ProjectError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make_images(demo: Path, browser: str, output: Path) -> None:
    """Write report.jpg, audit.jpg and detections.jpg into `output`. Raises UsageError without a finished demo."""
    runs = sorted(run for run in demo.glob("run-*") if (run / "predict").is_dir() and (run / "eval_val").is_dir())
    if not runs:
        raise UsageError(f"{demo} has no finished run; run make demo first")
    sheet = read_image(demo / "audit/train/audit.png")
    drawn = [read_image(path) for path in sorted((runs[-1] / "predict").rglob("*.jpg"))]
    images = {"report": photograph(runs[-1] / "eval_val/report.html", browser),
              "audit": sheet[:round(len(sheet) * AUDIT_ROWS)],
              "detections": contact_sheet(drawn, 3, cell=(210, 280))}
    output.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        size = WIDTH, round(len(image) * WIDTH / image.shape[1])
        content = encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), quality=82)
        write_file(output / f"{name}.jpg", content)
        print(f"{output / name}.jpg: {size[0]} x {size[1]}, {len(content) >> 10} KB")


def photograph(page: Path, browser: str) -> np.ndarray:
    """The upper part of an HTML file as (H, W, 3) uint8 RGB."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--window-size={REPORT[0]},{REPORT[1]}", f"--screenshot={shot}",
                        page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
        return read_image(shot)


if __name__ == "__main__":
    sys.exit(main())
