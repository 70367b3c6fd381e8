"""Frames of video files and cameras, by OpenCV."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Callable, Iterator, Optional, Union

import cv2
import numpy as np

from src.errors import ProjectError, UsageError

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
FRAMES_PER_SECOND = 25.0    # where the source does not say
LOST_FRAMES = 0.02          # fraction by which the number of frames in a file's header may be wrong


class Video:
    """A video file, or the camera of an index. Raises UsageError where OpenCV cannot open it.

    frame_count: what the file's header says; None for a camera, or where it does not say.
    """

    def __init__(self, source: Union[Path, int]):
        self.source = source
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            raise UsageError(f"{self.name} cannot be opened as a video; " + (
                "no camera of this number is connected, or another program uses it" if isinstance(source, int)
                else "the file is damaged, or OpenCV does not know its codec"))
        rate, count = (self._capture.get(what) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.frames_per_second: float = rate if 0 < rate < 1000 else FRAMES_PER_SECOND
        self.frame_count: Optional[int] = int(count) if count >= 1 and not isinstance(source, int) else None

    @property
    def name(self) -> str:
        """The file's path, or "camera 0"."""
        return f"camera {self.source}" if isinstance(self.source, int) else str(self.source)

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, one by one, to the end of the file; a camera has none."""
        try:
            while True:
                there, frame = self._capture.read()
                if not there:
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()

    def lost(self, read: int) -> str:
        """What is wrong where the file promises more frames than could be read; empty where nothing is."""
        count = self.frame_count
        if count is None or read >= count * (1 - LOST_FRAMES) - 1:
            return ""
        return f"{self.name}: {read} of {count} frames could be read; the file is damaged or cut off"


@contextlib.contextmanager
def video_file(path: Path, frames_per_second: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends a frame (H, W, 3) uint8 RGB to an MP4 file, which has the size of the first. Whatever
    ends the block, the frames so far become the file. Raises ProjectError where it cannot be written."""
    unfinished, writer = path.with_name(f".{os.getpid()}.{path.name}"), cv2.VideoWriter()
    size = (0, 0)

    def write(frame: np.ndarray) -> None:
        nonlocal size
        if not writer.isOpened():
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            if not writer.open(str(unfinished), code, frames_per_second, size):
                raise ProjectError(f"{path} cannot be written; is there room, and has OpenCV an MPEG-4 encoder?")
        if (frame.shape[1], frame.shape[0]) != size:    # OpenCV would leave it out without a word
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        writer.release()
        if unfinished.exists():
            os.replace(unfinished, path)
