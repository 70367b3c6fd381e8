import cv2
import numpy as np
import pytest

from src.data.video import Video, video_file
from src.errors import UsageError


def frame(level: int, width: int = 64) -> np.ndarray:
    """A frame that is red on its left half, of that brightness."""
    image = np.zeros((48, width, 3), np.uint8)
    image[:, :width // 2, 0] = level
    return image


def written(path, levels):
    with video_file(path, 10.0) as write:
        for level in levels:
            write(frame(level))
    return path


def test_frames_are_read_back_in_order_and_colour(tmp_path):
    video = Video(written(tmp_path / "a.mp4", [60, 120, 180, 240]))
    assert (video.frame_count, video.frames_per_second) == (4, 10.0)
    frames = list(video.frames())
    assert [round(int(image[24, 10, 0]) / 60) for image in frames] == [1, 2, 3, 4]
    assert all(image[24, 10, 2] < 40 and image[24, 60].max() < 40 for image in frames)
    assert video.lost(4) == "" and "1 of 4 frames could be read" in video.lost(1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_frame_of_another_size_is_not_lost(tmp_path):
    with video_file(tmp_path / "a.mp4", 10.0) as write:
        write(frame(200))
        write(frame(200, width=96))
    assert [image.shape for image in Video(tmp_path / "a.mp4").frames()] == [(48, 64, 3)] * 2


def test_what_was_written_before_an_interrupt_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), video_file(tmp_path / "a.mp4", 10.0) as write:
        write(frame(200))
        raise KeyboardInterrupt
    assert len(list(Video(tmp_path / "a.mp4").frames())) == 1


def test_what_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UsageError, match=r"a.mp4 cannot be opened as a video; the file is damaged"):
        Video(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="camera 97 cannot be opened as a video; no camera of this number"):
        Video(97)


def test_a_camera_has_no_number_of_frames(monkeypatch, tmp_path):
    path = written(tmp_path / "a.mp4", [60] * 9)
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: opened(str(path)))
    camera = Video(0)
    assert camera.frame_count is None and camera.name == "camera 0" and camera.lost(1) == ""
