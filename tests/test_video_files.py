"""Frames of files of many kinds, read in random order, are to the pixel those that FFmpeg shows one after the other."""

import itertools
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import number_of, numbered
from PIL import Image

from revseg.errors import VideoError
from revseg.video import Video

B_FRAMES = {"bf": "3", "g": "12"}
OPEN = {"x264-params": "open-gop=1:keyint=12:bframes=3:log-level=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0:log-level=0"}
HEVC = {"x265-params": "keyint=12:log-level=none"}
MPEG2 = {"bf": "2", "g": "12"}
VPX = {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8", "g": "20"}
SURE = ("mp4", "mov", "mkv", "webm", "ts", "flv")  # whose timestamps are relied on, so that a read costs a seek
FILES = {
    **{
        f"b_frames.{ext}": {"options": B_FRAMES}
        for ext in ("mp4", "mov", "mkv", "ts", "flv", "avi", "mpg", "h264", "nut", "asf", "mxf")
    },
    **{f"no_b_frames.{ext}": {"options": {"bf": "0", "g": "12"}} for ext in ("mp4", "mkv", "ts", "avi")},
    **{f"open_groups.{ext}": {"options": OPEN} for ext in ("mp4", "mkv", "ts", "avi", "mpg")},
    **{f"refresh.{ext}": {"options": REFRESH} for ext in ("mp4", "ts")},
    **{f"1200_fps.{ext}": {"options": B_FRAMES, "rate": 1200} for ext in ("mp4", "mkv", "ts", "flv")},
    **{f"ntsc.{ext}": {"options": B_FRAMES, "rate": Fraction(30000, 1001)} for ext in ("mkv", "avi", "mpg")},
    **{f"late_start.{ext}": {"options": B_FRAMES, "start": 300} for ext in ("mp4", "mkv", "ts", "flv")},
    **{f"mpeg4.{ext}": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}} for ext in ("avi", "mp4", "mkv", "m4v")},
    **{f"mpeg2.{ext}": {"codec": "mpeg2video", "options": MPEG2} for ext in ("mpg", "vob", "ts", "mkv", "avi", "m2v")},
    "interlaced.ts": {"codec": "mpeg2video", "options": {**MPEG2, "flags": "+ildct+ilme"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": MPEG2},
    "old.avi": {"codec": "msmpeg4"},
    "wmv.asf": {"codec": "wmv2"},
    **{f"vp8.{ext}": {"codec": "libvpx", "options": VPX} for ext in ("webm", "ivf", "avi")},
    **{f"vp9.{ext}": {"codec": "libvpx-vp9", "options": VPX} for ext in ("webm", "mp4")},
    "transparent.webm": {"codec": "libvpx-vp9", "options": VPX, "pix_fmt": "yuva420p"},
    **{f"jpeg.{ext}": {"codec": "mjpeg", "pix_fmt": "yuvj420p"} for ext in ("avi", "mov", "mkv")},
    "lossless.avi": {"codec": "ffv1", "options": {"g": "10"}},
    "raw.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "animated.png": {"codec": "apng", "pix_fmt": "rgb24", "format": "apng"},
    **{f"{form}.mkv": {"options": B_FRAMES, "pix_fmt": form} for form in ("gray", "yuv444p", "yuv420p10le")},
    **{f"hevc.{ext}": {"codec": "libx265", "size": (64, 64), "options": HEVC} for ext in ("mp4", "ts", "hevc")},
}


def write(
    path: Path,
    numbers: Sequence[int],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int | Fraction = 25,
    options: dict[str, str] | None = None,
    start: int = 0,
    size: tuple[int, int] = (48, 64),
    aspect: Fraction | None = None,
    format: str | None = None,
) -> Path:
    """A file whose i-th frame carries `numbers[i]` and is shown `start + i` frames after 0; skips without the codec."""
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    with av.open(str(path), "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        (stream.height, stream.width), stream.pix_fmt = size, pix_fmt
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for i, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            frame.pts, frame.time_base = start + i, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> list[np.ndarray]:
    """The frames that FFmpeg shows, in order; a packet that it cannot decode is left out."""
    import av
    from av.error import InvalidDataError

    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except InvalidDataError:
                continue
    return frames


def check(path: Path, reads: int = 60) -> Video:
    """Opens the file, and reads it in random order and all at once."""
    truth, video = shown(path), Video.open(path)
    assert len(video) == len(truth)
    order = np.random.default_rng(0).permutation(len(truth))[:reads]
    for index in order.tolist():
        np.testing.assert_array_equal(video.read([index])[0], truth[index], err_msg=f"{path.name}, frame {index}")
    for index, frame in zip(order, Video.open(path).read(order), strict=True):
        np.testing.assert_array_equal(frame, truth[index])
    return video


@pytest.mark.parametrize("name", FILES)
def test_random_reads_are_what_is_shown(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, range(40), **FILES[name])
    video = check(path)
    assert [number_of(video.read([i])[0]) for i in (39, 0, 17)] == [39, 0, 17]
    if path.suffix[1:] in SURE and "1200" not in name:
        assert video.reader.index.counted is None  # type: ignore[attr-defined]
    if path.suffix[1:] not in ("h264", "m4v", "m2v", "hevc", "gif") and name != "1200_fps.flv":  # keep no such rate
        assert video.fps == pytest.approx(float(FILES[name].get("rate", 25)), rel=0.05)


@pytest.mark.parametrize(
    "name", ["b_frames.ts", "b_frames.mpg", "b_frames.h264", "mpeg2.ts", "mpeg2.mpg", "b_frames.flv"]
)
@pytest.mark.parametrize("numbers", [(0, 100), (100, 0), (0, 100, 200)], ids=str)
def test_files_joined_end_to_end(tmp_path: Path, name: str, numbers: tuple[int, ...]) -> None:
    parts = [write(tmp_path / f"{k}_{name}", range(k, k + 30 + k // 10), **FILES[name]) for k in numbers]
    path = tmp_path / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = check(path, 30)
    if path.suffix != ".flv":  # its header comes once
        assert len(video) >= sum(30 + k // 10 for k in numbers) - 3
        assert number_of(video.read([0])[0]) == numbers[0]
        assert number_of(video.read([len(video) - 1])[0]) == numbers[-1] + 29 + numbers[-1] // 10


@pytest.mark.parametrize("name", ["b_frames.ts", "open_groups.ts", "refresh.ts", "mpeg2.ts", "mpeg2.mpg", "hevc.ts"])
@pytest.mark.parametrize("share", [0.1, 0.45])
def test_a_recording_that_starts_in_the_middle(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, range(60), **FILES[name])
    data = path.read_bytes()
    path.write_bytes(data[int(len(data) * share) // 188 * 188 :])
    video = check(path, 40)
    assert len(video) > 15
    assert number_of(video.read([len(video) - 1])[0]) == 59


@pytest.mark.parametrize("source", ["b_frames.avi", "b_frames.mp4"])
@pytest.mark.parametrize("target", ["mp4", "mkv"])
def test_times_of_decoding_taken_for_times_of_display(tmp_path: Path, source: str, target: str) -> None:
    """What a program does that moves H.264 with B-frames from an AVI without decoding it."""
    import av

    path = tmp_path / f"moved.{target}"
    with av.open(str(write(tmp_path / source, range(40), **FILES[source]))) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for count, packet in enumerate(p for p in old.demux(video=0) if p.size):
            packet.pts, packet.dts, packet.duration = count, count, 1
            packet.time_base, packet.stream = Fraction(1, 25), stream
            new.mux(packet)
    video = check(path)
    assert [number_of(frame) for frame in video.read([1, 2, 3, 30])] == [1, 2, 3, 30]


@pytest.mark.parametrize("target", ["ivf", "webm"])
def test_hidden_frames_are_not_counted(tmp_path: Path, target: str) -> None:
    """VP8's alternative references are packets without a picture: here three, made by clearing "show this frame"."""
    import av

    source = write(tmp_path / "vp8.ivf", range(40), codec="libvpx")
    data, at = bytearray(source.read_bytes()), 32
    for count in range(40):
        data[at + 12] &= 0xFF if count not in (5, 9, 20) else ~0x10 & 0xFF
        at += 12 + struct.unpack_from("<I", data, at)[0]
    source.write_bytes(data)
    path = tmp_path / f"hidden.{target}"
    if target == "ivf":
        path = source
    else:
        with av.open(str(source)) as old, av.open(str(path), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    video = check(path)
    assert (len(video), video.reader.index.counted) == (37, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["raw.avi", "raw.mov"])
def test_a_palette_outlives_a_seek(tmp_path: Path, name: str) -> None:
    import av

    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[1], palette[2] = 255, (255, 200, 40, 90), (255, 255, 255, 255)
    with av.open(str(tmp_path / name), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "pal8"
        for i in range(30):
            picture = numbered(i)
            indices = np.where(picture[..., 0] == 200, 1, picture[..., 0] // 255 * 2).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")  # pyright: ignore[reportArgumentType]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert number_of(Video.open(tmp_path / name).read([29])[0]) == 29
    check(tmp_path / name)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    for aspect, width in ((Fraction(16, 11), 93), (Fraction(1, 2), 32), (Fraction(1000, 1001), 64), (Fraction(90), 64)):
        video = Video.open(write(tmp_path / "wide.mp4", range(4), aspect=aspect))
        assert video.size == (48, width)
        for i, frame in enumerate(video.read(range(4))):
            assert number_of(np.asarray(Image.fromarray(frame).resize((64, 48)))) == i


def test_a_new_size_in_the_middle_is_named(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{w}.ts", range(20), size=(48, w)) for w in (64, 80)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    video = Video.open(tmp_path / "both.ts")
    assert number_of(video.read([19])[0]) == 19
    with pytest.raises(VideoError, match=r"both\.ts: frame 20 is 80x48, the first is 64x48"):
        video.read([20])


@pytest.mark.parametrize("name", ["b_frames.mkv", "vp8.webm", "b_frames.avi"])
def test_a_missing_end_is_told_once(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, range(60), **FILES[name])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    truth = shown(path)
    with pytest.warns(UserWarning, match="cut short or damaged; its first") as told:
        video = Video.open(path)
    assert len(told) == 1
    again = pickle.loads(pickle.dumps(Video.open(path)))  # says nothing: a warning is an error here
    assert 20 < len(video) == len(again) <= len(truth)
    for index in np.random.default_rng(0).permutation(len(video)).tolist():
        np.testing.assert_array_equal(again.read([index])[0], truth[index])


@pytest.mark.parametrize("name", ["b_frames.mp4", "vp8.webm"])
def test_a_download_that_was_never_finished_ends_in_zeros(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, range(60), **FILES[name])
    if path.suffix == ".mp4":  # its index comes last: only the pictures are blanked
        import av

        with av.open(str(path)) as container:
            places = sorted((p.pos or 0, p.size) for p in container.demux(video=0) if p.size)
        start, end = places[40][0], sum(places[-1])
    else:
        start, end = path.stat().st_size * 7 // 10, path.stat().st_size
    data = bytearray(path.read_bytes())
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="cut short or damaged"):
        video = Video.open(path)
    assert 25 < len(video) < 60
    assert [number_of(frame) for frame in video.read(range(len(video)))] == list(range(len(video)))


def test_black_at_the_end_is_no_missing_end(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "black.avi"), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr24"
        for i in range(10):
            picture = numbered(i) if i < 5 else np.zeros((48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert len(check(tmp_path / "black.avi")) == 10


def test_sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = write(tmp_path / "cover.flac", [0], codec="mjpeg", pix_fmt="yuvj420p", format="mjpeg")
    picture, kind = path.read_bytes(), b"image/jpeg"
    block = struct.pack(">II", 3, len(kind)) + kind + struct.pack(">6I", 0, 64, 48, 24, 0, len(picture)) + picture
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + (44100 << 44 | 1 << 41 | 15 << 36).to_bytes(8, "big") + bytes(16)
    head = b"fLaC" + struct.pack(">I", 34) + info + struct.pack(">I", 0x86 << 24 | len(block)) + block
    path.write_bytes(head + bytes.fromhex("fff8c9180000"))
    with pytest.raises(VideoError, match=r"cover\.flac: expected a video, found sound with a cover picture; save"):
        Video.open(path)


def test_animated_pictures(tmp_path: Path) -> None:
    frames = [Image.fromarray(numbered(i)) for i in range(5)]
    for name in ("moving.webp", "moving.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    frames[3].save(tmp_path / "still.webp", lossless=True)
    assert number_of(Video.open(tmp_path / "still.webp").read([0])[0]) == 3
    with pytest.raises(VideoError, match=r"moving\.webp: expected a video, found an animated WebP.*save it as"):
        Video.open(tmp_path / "moving.webp")
    assert [number_of(frame) for frame in Video.open(tmp_path / "moving.png").read(range(5))] == list(range(5))
    folder = tmp_path / "frames"
    folder.mkdir()
    (tmp_path / "moving.png").rename(folder / "0.png")
    with pytest.raises(VideoError, match=r"0\.png: expected a picture, found an animation"):
        Video.open(folder)


def test_lists_of_files_and_unknown_codecs_say_what_they_are(tmp_path: Path) -> None:
    video = write(tmp_path / "plain.mp4", range(3))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile plain.mp4\n")
    with pytest.raises(VideoError, match=r"list\.mp4: expected a video, found a list of other files"):
        Video.open(tmp_path / "list.mp4")
    (tmp_path / "strange.mp4").write_bytes(video.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"strange\.mp4: this FFmpeg has no decoder for the video's codec; convert it"):
        Video.open(tmp_path / "strange.mp4")
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n\n")
    with pytest.raises(VideoError, match=r"found no video stream in it \(subtitle only\)"):
        Video.open(tmp_path / "words.srt")


def test_names_and_tags_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is not taken for an address or a pattern, and a title need not be UTF-8."""
    import av

    plain = write(tmp_path / "plain.mp4", range(3)).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "cache:x.mp4", "frame%03d.mp4"):
        Path(name).write_bytes(plain)
        assert number_of(Video.open(name).read([2])[0]) == 2
    with av.open("plain.mp4") as old, av.open("titled.mkv", "w") as new:
        new.metadata["title"] = "TITLE OF IT"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    data = Path("titled.mkv").read_bytes()
    Path("titled.mkv").write_bytes(data.replace(b"TITLE OF IT", b"caf\xe9 \xff\xfe ok!"))
    assert number_of(Video.open("titled.mkv").read([2])[0]) == 2


def test_the_first_video_of_several(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams: list[Any] = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i, k in itertools.product(range(20), range(2)):
            container.mux(streams[k].encode(av.VideoFrame.from_ndarray(numbered(i + 100 * k), format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert [number_of(frame) for frame in check(tmp_path / "two.mkv").read([0, 19])] == [0, 19]


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.avi"])
def test_threads_share_a_reader(tmp_path: Path, name: str) -> None:
    video = pickle.loads(pickle.dumps(Video.open(write(tmp_path / name, range(40), **FILES[name]))))
    wrong: list[tuple[int, int]] = []

    def read(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, 40, 15).tolist():
            found = number_of(video.read([index])[0])
            if found != index:
                wrong.append((index, found))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


COUNTED = """
import os, signal, sys, warnings
import numpy as np
from revseg.video import Video
video = Video.open(sys.argv[1], backend=sys.argv[2])
video.read([20])
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    signal.alarm(30)
    same = all((video.read([i]) == Video.open(sys.argv[1], backend=sys.argv[2]).read([i])).all() for i in (30, 3))
    os._exit(0 if same else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(code or (0 if video.read([21]).shape == (1, 48, 64, 3) else 2))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("name", "backend"), [("b_frames.avi", "av"), ("b_frames.mp4", "av"), ("b_frames.mp4", "decord")]
)
def test_a_fork_reads_on_its_own(tmp_path: Path, name: str, backend: str) -> None:
    path = write(tmp_path / name, range(40), **FILES[name])
    assert subprocess.run([sys.executable, "-c", COUNTED, str(path), backend], timeout=100).returncode == 0


@pytest.mark.parametrize("before", [pytest.param("", marks=pytest.mark.slow), "import av, cv2", "import decord"])
def test_decord_and_torch_in_any_order(tmp_path: Path, before: str) -> None:
    """decord's libraries crash torch when they come first: that is refused, and revseg itself loads torch first."""
    path = write(tmp_path / "plain.mp4", range(20))
    code = f"""
{before}
from revseg.errors import InputError
from revseg.video import Video
try:
    Video.open({str(path)!r}, backend="decord").read([7])
except InputError as error:
    print(error)
else:
    import torch, av, cv2
    (torch.randn(300, 300) @ torch.randn(300, 300)).sum()
    print("right")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert done.stdout.strip() == "right" if before != "import decord" else "import torch" in done.stdout


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("0.jpg", "1.jpg", "0.png", "1.png"), "two frames of one number, 0.jpg and 0.png"),
        (("0.jpg", "0.JPG"), "two frames of one number"),
        (("0.jpg", "0.jpeg"), "two frames of one number"),
        (("1.png", "01.png", "2.png"), "two frames of one number, 01.png and 1.png"),
        (("0.jpg", "1.jpg", "2.png"), "frames of two kinds, 1.jpg and 2.png"),
        (("0.png", "1.png", "mask.png"), "pictures that are named in two ways, 1.png and mask.png"),
        (("0.png", "0_mask.png", "1.png"), "pictures that are named in two ways, 0.png and 0_mask.png"),
        (("0.jpg", "thumb_0.jpg"), "pictures that are named in two ways"),
        (("a_0.jpg", "a_1.jpg", "b_0.jpg"), "pictures that are named in two ways"),
        (("cat.jpg", "dog.jpg"), "pictures that are named in two ways"),
    ],
)
def test_other_pictures_among_the_frames(tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    for i, name in enumerate(names):
        Image.fromarray(numbered(i)).save(tmp_path / name)
    with pytest.raises(VideoError, match=f"expected the numbered frames of one video, found {what}"):
        Video.open(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("img_9.jpg", "IMG_10.JPG", "img_11.jpeg"),
        ("v2_0.png", "v2_1.png", "v2_2.png"),
        ("shot 1.0.png", "shot 1.5.png", "shot 2.0.png"),
        ("only.png",),
    ],
)
def test_frames_that_belong_together(tmp_path: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        Image.fromarray(numbered(i)).save(tmp_path / name, quality=95)
    (tmp_path / "._0.jpg").write_bytes(b"of a Mac")
    (tmp_path / ".cover.png").write_bytes(b"")
    video = Video.open(tmp_path)
    assert [number_of(frame) for frame in video.read(range(len(names)))] == list(range(len(names)))
