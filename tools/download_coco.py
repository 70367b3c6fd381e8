"""COCO 2017 from its server: python tools/download_coco.py --config_path FILE [--coco_root FOLDER]

Images and annotations of train2017 and val2017, 20 GB, as archives that are checked and unpacked into coco_root.
A download that was cut off goes on where it stopped, in the same call or the next.
"""
from __future__ import annotations

import errno
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
from src.engine.run_folder import make_folder  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import DatasetError, StorageError  # noqa: E402
from src.files import sha256_of, unpack  # noqa: E402

SERVER = "https://s3.amazonaws.com/images.cocodataset.org"     # images.cocodataset.org itself has no certificate
ATTEMPTS = 5            # in a row that bring nothing
FIRST_PAUSE = 2.0       # seconds before the second of them; doubled before every further one
TIMEOUT = 60            # seconds without a byte
BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A zip file on the server, and the folder that it holds."""

    address: str    # on the server
    size: int       # bytes
    sha256: str
    folder: str


# Sizes and checksums are those that TensorFlow Datasets publishes.
COCO_2017 = (
    Archive("annotations/annotations_trainval2017.zip", 252_907_541,
            "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", "annotations"),
    Archive("zips/val2017.zip", 815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", "val2017"),
    Archive("zips/train2017.zip", 19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", "train2017"),
)


def download_coco(root: Path, archives=COCO_2017, server: str = SERVER) -> None:
    """Make the folders of these archives in `root`; those that exist are left alone.

    Raises StorageError when the server cannot be reached or the disk has no room, DatasetError when what comes is not
    what it should be.
    """
    make_folder(root, "coco_root")
    for archive in archives:
        if (root / archive.folder).is_dir():
            print(f"{root / archive.folder} is there already")
            continue
        path = root / Path(archive.address).name
        if not path.exists():
            fetch(f"{server}/{archive.address}", path, archive)
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


def fetch(url: str, path: Path, archive: Archive) -> None:
    """Download an archive to `path`, continuing `<path>.part`.

    Raises StorageError, and DatasetError for another size or sum than the archive's.
    """
    part = path.with_name(path.name + ".part")
    require_room(part, archive.size)
    idle = 0
    while True:
        before = _size(part)
        try:
            _continue(url, part, archive.size)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(f"{part} cannot be written ({error.strerror}); make room and run again, which goes "
                                   "on from there") from None
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise StorageError(f"{url}: the server says {error.code} {error.reason}") from None
            idle = 0 if _size(part) > before else idle + 1
            if idle >= ATTEMPTS:
                raise StorageError(f"{url} cannot be read ({error}); {_size(part) >> 20} MB of it are in {part}, and "
                                   "the next call goes on from there") from None
            time.sleep(FIRST_PAUSE * 2 ** max(0, idle - 1))
    found = sha256_of(part)
    if found != archive.sha256:
        part.unlink()
        raise DatasetError(f"{url}: the SHA-256 is {found} instead of {archive.sha256}; what came was deleted, run "
                           "again")
    part.rename(path)


def require_room(part: Path, size: int) -> None:
    """Raises StorageError unless the disk has room for what is missing of `part`, and then for as much unpacked: images
    are compressed already."""
    needed, free = 2 * size - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise StorageError(f"{part.parent} has room for {free >> 20} MB, the archive and its content need "
                           f"{needed >> 20} MB; make room, or choose another --coco_root")


def _continue(url: str, part: Path, size: int) -> None:
    """Append to `part` what is missing of its `size` bytes; raises OSError or HTTPException when the connection is
    lost, DatasetError when the server has another size."""
    start = _size(part)
    if start > size:    # of something else
        part.unlink()
        start = 0
    if start == size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        continues = response.status == 206
        start = start if continues else 0
        announced = response.headers["Content-Length"]
        if announced is not None and announced != str(size - start):
            raise DatasetError(f"{url}: the server announces {announced} bytes, {size - start} are missing of this "
                               "file; another file lies there now, so get COCO elsewhere")
        with part.open("ab" if continues else "wb") as file, tqdm(
                total=size, initial=start, unit="B", unit_scale=True, desc=part.stem, file=sys.stderr,
                mininterval=1 if sys.stderr.isatty() else 30) as progress:
            while block := response.read(min(BLOCK, size + 1 - file.tell())):   # one byte more shows a longer file
                file.write(block)
                progress.update(len(block))
    if _size(part) > size:
        part.unlink()
        raise DatasetError(f"{url}: the server sends more than the {size} bytes of this file; what came was deleted, "
                           "get COCO elsewhere")
    if _size(part) < size:
        raise ConnectionError(f"the connection was lost after {_size(part)} of {size} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "tools/download_coco")
    download_coco(Path(config.data.coco_root))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
