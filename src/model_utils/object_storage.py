"""Copies folders between this host and object storage.

On ModelArts its own library `moxing` copies; elsewhere the same addresses (obs:// or s3://) are read and written
with boto3, which takes address and keys of the server from its environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...).
"""
from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple

from src.errors import StorageError, UsageError
from src.files import inside

ATTEMPTS = 4
FIRST_PAUSE = 2.0       # seconds before the second attempt; doubled before every further one
CONNECT_SECONDS = 20
ANSWER_SECONDS = 60     # in which a server has to send something
PARALLEL_COPIES = 16


def check_address(url: str) -> None:
    """Raises UsageError for an address with credentials, which no library reads and all write into their messages."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{url}: an address in object storage holds no credentials; give them in the environment "
                         "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)")


def copy(source: Any, target: Any) -> None:
    """Copy a folder between this host and object storage; one of the two is an address. Raises StorageError, and
    UsageError for an address that cannot be."""
    for place in (source, target):
        check_address(str(place))
    print(f"copying {source} to {target}")
    if importlib.util.find_spec("moxing"):
        _retried(lambda: _copy_with_moxing(str(source), str(target)), source, target)
    elif "://" in str(source):
        _download(str(source), Path(target))
    else:
        _upload(Path(source), str(target))


def _copy_with_moxing(source: str, target: str) -> None:
    import moxing

    moxing.file.copy_parallel(source, target)
    sizes = []
    for place in (source, target):
        try:
            sizes.append(moxing.file.get_size(place, recursive=True) if "://" in place else _local_size(Path(place)))
        except Exception as error:  # moxing raises whatever its lower layers raise
            print(f"the size of {place} cannot be compared ({type(error).__name__}: {error})", file=sys.stderr)
            return
    if sizes[1] < sizes[0]:     # the target may have held other files before
        raise OSError(f"{sizes[1]} of {sizes[0]} bytes arrived")


def _local_size(place: Path) -> int:
    files = [place] if place.is_file() else place.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


class _Object(NamedTuple):
    """A file in object storage, its size in bytes, and where it goes."""

    key: str
    size: int
    target: Path


def _download(url: str, folder: Path) -> None:
    client, (bucket, prefix) = _client(), _address(url)

    def listed() -> list[dict]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item for page in pages for item in page.get("Contents", ())]

    objects = []
    for item in _retried(listed, url, folder):
        key = item["Key"]
        if key.endswith("/") or not (not prefix or key == prefix or key.startswith(prefix + "/")):
            continue    # a folder's own entry; another folder whose name begins alike
        name = key.rpartition("/")[2] if key == prefix else key[len(prefix):].lstrip("/")
        objects.append(_Object(key, item["Size"], inside(folder, name, url)))
    if not objects:
        raise StorageError(f"{url} holds no files; check the address")
    _require_room(folder, sum(found.size for found in objects), url)

    def fetch(found: _Object) -> None:
        found.target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, found.key, str(found.target))
        _require_size(found.target.stat().st_size, found.size)

    _in_parallel(lambda found: _retried(lambda: fetch(found), f"{url}: {found.key}", found.target), objects)


def _upload(folder: Path, url: str) -> None:
    client, (bucket, prefix) = _client(), _address(url)

    def send(path: Path, key: str) -> None:
        size = path.stat().st_size
        client.upload_file(str(path), bucket, key)
        _require_size(client.head_object(Bucket=bucket, Key=key)["ContentLength"], size)

    def send_one(path: Path) -> None:
        key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
        _retried(lambda: send(path, key), path, f"{url}: {key}")

    _in_parallel(send_one, [path for path in sorted(folder.rglob("*")) if path.is_file()])


def _require_size(arrived: int, expected: int) -> None:
    if arrived != expected:
        raise OSError(f"{arrived} of {expected} bytes arrived")


def _require_room(folder: Path, needed: int, url: str) -> None:
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise StorageError(f"{url} needs {needed >> 20} MB, but {folder} has room for {free >> 20} MB; make room or "
                           "choose another folder")


def _in_parallel(action: Callable, items: Iterable) -> None:
    """Call `action` for every item. The first error ends it: what has not begun is not tried."""
    pool = ThreadPoolExecutor(PARALLEL_COPIES)
    try:
        for future in [pool.submit(action, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _client() -> Any:
    try:
        import boto3
    except ModuleNotFoundError:
        raise StorageError("this host has neither moxing, which ModelArts brings, nor boto3; pip install boto3") \
            from None
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS,
                                            retries={"total_max_attempts": 1}, max_pool_connections=PARALLEL_COPIES))


def _address(url: str) -> tuple[str, str]:
    """(bucket, key without slashes at the end)"""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "obs") or not bucket:
        raise UsageError(f"'{url}' is not an address in object storage; give s3://BUCKET/FOLDER or obs://BUCKET/FOLDER")
    return bucket, key.strip("/")


def _retried(action: Callable, source: Any, target: Any) -> Any:
    """The result of `action`, which is tried several times; raises StorageError if all attempts fail."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            return action()
        except Exception as error:  # moxing and boto3 raise whatever their lower layers raise
            failure = error
    raise StorageError(f"{source} could not be copied to {target} in {ATTEMPTS} attempts, "
                       f"{type(failure).__name__}: {failure}")
