"""Pictures and videos written to files."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from revseg.errors import InputError, OutputError
from revseg.output import fresh_file

RATES = (0.01, 1000.0)  # lowest and highest fps that an MP4 is written at


def write_png(path: str | Path, image: np.ndarray, *, overwrite: bool = False) -> None:
    """Writes uint8[h w 3] (RGB), uint8[h w] (grey) or bool[h w] (0/255) as a PNG. OutputError when `path` exists."""
    from PIL import Image

    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)):
        raise InputError(f"expected uint8[h w 3], uint8[h w] or bool[h w], got {image.dtype}{list(image.shape)}")
    with fresh_file(path, overwrite=overwrite) as part:
        Image.fromarray(image).save(part, format="PNG")


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, *, quality: int = 20, overwrite: bool = False
) -> None:
    """Writes RGB frames uint8[h w 3], taken one at a time, as an H.264 MP4 (yuv420p, BT.709) that browsers play.

    Odd sizes are padded by repeating the last row or column, since yuv420p needs even ones. `quality` is x264's CRF:
    lower is better. The encoder is libx264, which PyAV's wheels include, or else Cisco's libopenh264.
    Raises InputError without frames or when their size changes, OutputError when `path` exists or cannot be written.
    """
    import av
    from av.error import FFmpegError

    if not RATES[0] <= fps <= RATES[1]:
        raise InputError(f"expected fps in {RATES[0]:g}..{RATES[1]:g}, got {fps}")
    codec = next((name for name in ("libx264", "libopenh264") if name in av.codecs_available), None)
    if codec is None:
        raise OutputError(f"cannot write {path}: this build of PyAV has no H.264 encoder; pip install av")
    with fresh_file(path, overwrite=overwrite) as part:
        try:
            _encode(part, frames, Fraction(fps).limit_denominator(1001), codec, quality)
        except FFmpegError as error:
            raise OutputError(f"cannot write {path}: {error}") from error


def _encode(path: Path, frames: Iterable[np.ndarray], fps: Fraction, codec: str, quality: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"crf": str(quality), "preset": "veryfast"} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        size = None
        for image in frames:
            expected = (*(size or image.shape[:2]), 3)
            if image.shape != expected or image.dtype != np.uint8:
                raise InputError(f"expected frames uint8{list(expected)}, got {image.dtype}{list(image.shape)}")
            if size is None:
                size = image.shape[:2]
                stream.height, stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, as players assume
                context.color_range = 1  # limited
            even = np.pad(image, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), "edge")
            picture = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(picture))
        if size is None:
            raise InputError(f"expected frames to write, got none for {path.name}")
        container.mux(stream.encode())
