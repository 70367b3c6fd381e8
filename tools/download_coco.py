"""COCO 2017 from its server: python tools/download_coco.py --config_path FILE [--coco_root FOLDER]

Images and annotations of train2017 and val2017, 20 GB, as archives that are checked and unpacked into coco_root.
A download that was cut off goes on where it stopped, in the same call or the next.
"""
from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.command_line import load_config  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import DatasetError, StorageError  # noqa: E402
from src.files import unpack  # noqa: E402

SERVER = "http://images.cocodataset.org"
ATTEMPTS = 5            # in a row that bring nothing
FIRST_PAUSE = 2.0       # seconds before the second of them; doubled before every further one
TIMEOUT = 60            # seconds without a byte
BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A zip file on the server, and the folder that it holds."""

    address: str    # on the server
    sha1: str
    folder: str


# The checksums are those that GluonCV publishes with its download script.
COCO_2017 = (
    Archive("annotations/annotations_trainval2017.zip", "8551ee4bb5860311e79dace7e79cb91e432e78b3", "annotations"),
    Archive("zips/val2017.zip", "4950dc9d00dbe1c933ee0170f5797584351d2a41", "val2017"),
    Archive("zips/train2017.zip", "10ad623668ab00c62c096f0ed636d6aff41faca5", "train2017"),
)


def download_coco(root: Path, archives=COCO_2017, server: str = SERVER) -> None:
    """Make the folders of these archives in `root`; those that exist are left alone.

    Raises StorageError when the server cannot be reached, DatasetError when what it sends is not what it should be.
    """
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if (root / archive.folder).is_dir():
            print(f"{root / archive.folder} is there already")
            continue
        path = root / Path(archive.address).name
        if not path.exists():
            fetch(f"{server}/{archive.address}", path, archive.sha1)
        print(f"unpacking {path}")
        room = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=root))   # a folder is there as a whole or not at all
        try:
            unpack(path, room)
            if not (room / archive.folder).is_dir():
                raise DatasetError(f"{path} does not hold the folder {archive.folder}; delete it and run again")
            (room / archive.folder).rename(root / archive.folder)
        finally:
            shutil.rmtree(room)
        path.unlink()


def fetch(url: str, path: Path, sha1: str) -> None:
    """Download a file to `path`, continuing `<path>.part`; raises StorageError, and DatasetError for a wrong sum."""
    part = path.with_name(path.name + ".part")
    idle = 0
    while True:
        before = _size(part)
        try:
            _continue(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise StorageError(f"{url}: the server says {error.code} {error.reason}") from None
            idle = 0 if _size(part) > before else idle + 1
            if idle >= ATTEMPTS:
                raise StorageError(f"{url} cannot be read ({error}); {_size(part) >> 20} MB of it are in {part}, and "
                                   "the next call goes on from there") from None
            time.sleep(FIRST_PAUSE * 2 ** max(0, idle - 1))
    found = _sha1(part)
    if found != sha1:
        part.unlink()
        raise DatasetError(f"{url}: the sha1 is {found} instead of {sha1}; what came was deleted, run again")
    part.rename(path)


def _continue(url: str, part: Path) -> None:
    """Append to `part` what is missing of it; raises OSError or HTTPException when the connection is lost."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:     # nothing behind the end: the file is complete
            return
        raise
    with response:
        continues = response.status == 206
        start = start if continues else 0
        expected = start + int(response.headers["Content-Length"])
        with part.open("ab" if continues else "wb") as file, tqdm(
                total=expected, initial=start, unit="B", unit_scale=True, desc=part.stem, file=sys.stderr,
                mininterval=1 if sys.stderr.isatty() else 30) as progress:
            while True:
                block = response.read(BLOCK)
                if not block:
                    break
                file.write(block)
                progress.update(len(block))
    if _size(part) < expected:
        raise ConnectionError(f"the connection was lost after {_size(part)} of {expected} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha1(path: Path) -> str:
    digest = hashlib.sha1()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "tools/download_coco")
    download_coco(Path(config.data.coco_root))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
