"""Files of moving pictures: GIF, WebP and MP4."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from vitgan_tf.errors import UserError
from vitgan_tf.files import atomic_file

FRAME_MILLISECONDS = 50
# Edges of a picture in pixels that GIF and WebP allow.
MAX_EDGE, _WEBP_EDGE = 65_535, 16_383
_RATE = 1000 // FRAME_MILLISECONDS
SUFFIXES = (".gif", ".webp", ".mp4")


def max_edge(path: str) -> int:
    """Returns the largest edge of a picture in the format of a file's name, in pixels."""
    return _WEBP_EDGE if path.lower().endswith(".webp") else MAX_EDGE


def is_streamed(path: str) -> bool:
    """True for a format whose frames are not held in memory."""
    return path.lower().endswith(".mp4")


def write_animation(path: str, frames: Iterable[np.ndarray]) -> None:
    """Writes frames of 50 ms, (height, width, 1 or 3) uint8, in the format that the name ends in; atomically.

    GIF has 256 colours, and repeats itself. WebP is lossless, and repeats itself. MP4 is H.264 of high quality.

    Raises:
      OSError: the file cannot be written.
      UserError: the package that writes MP4 is not installed.
    """
    if is_streamed(path):
        _write_mp4(path, frames)
        return
    pictures = list(map(picture, frames))
    options = {"lossless": True} if path.lower().endswith(".webp") else {}
    with atomic_file(path) as file:
        pictures[0].save(
            file,
            format="WEBP" if options else "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=FRAME_MILLISECONDS,
            loop=0,
            **options,
        )


def picture(frame: np.ndarray) -> Image.Image:
    """Returns (height, width, 1 or 3) uint8 as Pillow's image."""
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def ffmpeg() -> str:
    """Returns the path of the program that writes MP4.

    Raises:
      UserError: its package is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UserError(
            "MP4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg, or write a .webp in its place"
        ) from error
    return imageio_ffmpeg.get_ffmpeg_exe()


def _write_mp4(path: str, frames: Iterable[np.ndarray]) -> None:
    program = ffmpeg()
    first, even = _peeked(map(_even, frames))
    partial = f"{path}.{os.getpid()}.partial.mp4"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.shape[1]}x{first.shape[0]}", "-r", str(_RATE)]
    target = ["-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p", "-movflags", "+faststart", partial]
    command = [program, "-y", "-loglevel", "error", *source, "-i", "-", *target]
    try:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError):  # ffmpeg says why
                    for frame in even:
                        process.stdin.write(frame.tobytes())
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait()
            log.seek(0)
            message = log.read().decode(errors="replace").strip()
        if process.returncode:
            raise OSError(None, message.splitlines()[-1] if message else "ffmpeg failed", path)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _peeked(frames: Iterator[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    first = next(frames)
    return first, itertools.chain([first], frames)


def _even(frame: np.ndarray) -> np.ndarray:
    """Returns three channels and an even number of rows and columns, which H.264 needs; edges are repeated."""
    height, width, channels = frame.shape
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.repeat(padded, 3, axis=2) if channels == 1 else padded
