"""Every frame asked for is the right one, whatever the file; what cannot be read says so and names itself."""

import multiprocessing
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import number_of, numbered
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from revseg.errors import InputError, RevsegWarning, VideoError
from revseg.video import Video, read_picture
from revseg.video.file import FileReader

MakeVideo = Callable[..., Path]
VARIABLE = np.cumsum(np.random.default_rng(0).integers(10, 200, 90)).tolist()
KINDS = {
    "b_frames.mp4": (90, {"options": {"bf": "3", "g": "250"}}),
    "open_group.mp4": (90, {"options": {"x264-params": "open-gop=1:keyint=15:bframes=3:log-level=0"}}),
    "open_group.mkv": (90, {"options": {"x264-params": "open-gop=1:keyint=15:bframes=3:log-level=0"}}),
    "hevc_as_x265_writes_it.mp4": (
        90,
        {"codec": "libx265", "size": (64, 64), "options": {"x265-params": "keyint=15:log-level=none"}},
    ),
    "transport.ts": (90, {"options": {"g": "15", "bf": "2"}}),
    "mpeg2.ts": (90, {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
    "variable_rate.mp4": (90, {"times": VARIABLE, "options": {"bf": "3"}}),
    "variable_rate.mkv": (90, {"times": VARIABLE}),
    "old.avi": (40, {"codec": "mpeg4"}),
    "vp9.webm": (40, {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}),
    "animated.gif": (20, {"codec": "gif", "pix_fmt": "rgb8"}),
    "odd_size.mp4": (20, {"size": (49, 67), "pix_fmt": "yuv444p"}),
    "one_frame.mp4": (1, {}),
}


def make_kind(make_video: MakeVideo, name: str) -> tuple[Video, int]:
    import av

    n, how = KINDS[name]
    codec = how.get("codec", "libx264")
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    return Video.open(make_video(name, n, **how)), n


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_one_asked_for(make_video: MakeVideo, name: str) -> None:
    video, n = make_kind(make_video, name)
    assert len(video) == n
    assert video.size == KINDS[name][1].get("size", (48, 64))
    rng = np.random.default_rng(3)
    for asked in (np.arange(n), np.arange(n)[::-1], rng.integers(0, n, 20), np.linspace(0, n - 1, 16).round()):
        asked = asked.astype(int).tolist()
        assert [number_of(frame) for frame in video.read(asked)] == asked
    for index in rng.integers(0, n, 10).tolist():  # one at a time: a seek or a step each
        assert number_of(video.read([index])[0]) == index
    colour = video.read([0])[0, :3, 12:].mean((0, 1))
    assert np.abs(colour - (200, 40, 90)).max() < 20  # red first: RGB, not BGR


@given(st.data())
def test_any_order_with_repeats(make_video: MakeVideo, data: st.DataObject) -> None:
    video, n = make_kind(make_video, "open_group.mkv")
    asked = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=12))
    assert [number_of(frame) for frame in video.read(asked)] == asked


def test_rates(make_video: MakeVideo) -> None:
    assert make_kind(make_video, "b_frames.mp4")[0].fps == 30
    for name in ("variable_rate.mp4", "variable_rate.mkv"):
        video, n = make_kind(make_video, name)
        assert video.fps == pytest.approx((n - 1) / (VARIABLE[-1] - VARIABLE[0]) * 1000, rel=0.02)
    assert Video.open(make_video("b_frames.mp4", 90), fps=12).fps == 12


def test_edit_list_is_obeyed(make_video: MakeVideo, tmp_path: Path) -> None:
    """A file trimmed without re-encoding holds frames before its start, which are not part of the video."""
    import av

    trimmed = tmp_path / "trimmed.mp4"
    with (
        av.open(str(make_video("b_frames.mp4", *KINDS["b_frames.mp4"][:1]))) as source,
        av.open(str(trimmed), "w") as to,
    ):
        stream = to.add_stream_from_template(source.streams.video[0])
        shift = 40 * 512  # 40 frames at 1/15360 s
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            to.mux(packet)
    video = Video.open(trimmed)
    assert len(video) == 50
    assert [number_of(f) for f in video.read([0, 7, 49])] == [40, 47, 89]


@pytest.mark.parametrize(
    "matrix", [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
)
def test_the_eight_orientations(make_video: MakeVideo, tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """The track's matrix says where a stored pixel is shown: x' = a x + c y, y' = b x + d y, moved into the picture."""
    path = oriented(make_video("one_frame.mp4", 1), tmp_path / "oriented.mp4", [v << 16 for v in matrix])
    stored = Video.open(make_video("one_frame.mp4", 1)).read([0])[0]
    a, b, c, d = matrix
    y, x = np.mgrid[:48, :64]
    right, down = a * x + c * y, b * x + d * y
    expected = np.zeros((48, 64, 3) if a else (64, 48, 3), np.uint8)
    expected[down - down.min(), right - right.min()] = stored
    video = Video.open(path)
    assert video.size == expected.shape[:2]
    np.testing.assert_array_equal(video.read([0])[0], expected)


def oriented(source: Path, path: Path, matrix: list[int]) -> Path:
    """A copy of an MP4 with (a, b, c, d), 16 bits after the point, as its track's display matrix."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # after the box's name: version, times, id, duration, layer, volume
    assert struct.unpack(">9i", data[at : at + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_a_matrix_of_nonsense_turns_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    for matrix in ([0, 0, 0, 0], [-(2**31)] * 4, [2**31 - 1] * 4, [1 << 16, 1, 1, 1 << 16]):
        path = oriented(make_video("one_frame.mp4", 1), tmp_path / "nonsense.mp4", matrix)
        assert sorted(Video.open(path).size) == [48, 64]


def test_a_long_file_is_not_decoded(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 frames of 3000 cost a seek and at most a group of pictures each, not the way there."""
    import revseg.video.file as module

    decoded = 0
    plain = module.Decoder._decode

    def counted(decoder: module.Decoder) -> object:
        nonlocal decoded
        for frame in plain(decoder):
            decoded += 1
            yield frame

    monkeypatch.setattr(module.Decoder, "_decode", counted)
    video = Video.open(make_video("long_3000.mp4", 3000, options={"preset": "ultrafast", "g": "20"}))
    assert decoded <= 2
    asked = np.linspace(0, 2999, 16).astype(int).tolist()
    assert [number_of(f) for f in video.read(asked)] == asked
    assert decoded < 16 * 40
    before = decoded
    for index, frame in video.stream(range(1000, 1100)):
        assert number_of(frame) == index
    assert decoded - before < 180  # one seek, then on and on


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 30, 1), (29, -1, -1), (7, 7, 1), (3, 29, 5)])
def test_stream_both_ways(start: int, stop: int, step: int) -> None:
    frames = np.stack([numbered(i) for i in range(30)])
    reads: list[int] = []

    def reader(ids: np.ndarray) -> np.ndarray:
        reads.append(len(ids))
        return frames[ids]

    video = Video("v", (48, 64), 24, 30, reader)
    asked = range(start, stop, step)
    assert [(i, number_of(f)) for i, f in video.stream(asked, chunk=4)] == [(i, i) for i in asked]
    assert all(size <= 4 for size in reads)
    assert sum(reads) == len(asked)


def test_pickle_fork_and_spawn(make_video: MakeVideo) -> None:
    video, _ = make_kind(make_video, "open_group.mp4")
    video.read([50])  # a decoder is open in this process
    assert number_of(pickle.loads(pickle.dumps(video)).read([33])[0]) == 33
    code = "import pickle,sys;v=pickle.load(sys.stdin.buffer);sys.stdout.buffer.write(v.read([33]).tobytes())"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(video), capture_output=True, check=True)
    assert done.stdout == video.read([33]).tobytes()
    if "fork" in multiprocessing.get_all_start_methods() and sys.platform == "linux":
        assert _in_fork(lambda: number_of(video.read([70])[0])) == 70
    assert number_of(video.read([51])[0]) == 51


def _in_fork(work: Callable[[], int]) -> int:
    import os
    import signal
    import warnings

    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks in a process with threads
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that waits for a thread of its parent's would wait for ever
        os.write(into, str(work()).encode())
        os._exit(0)
    os.close(into)  # else a child that died is waited for without end
    os.waitpid(child, 0)
    return int(os.read(out, 20))


def test_folders(tmp_path: Path) -> None:
    for i in (10, 9, 2, 100):  # numbers, not letters, and of any start and step
        Image.fromarray(numbered(i)).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_bytes(b"")
    video = Video.open(tmp_path)
    assert (len(video), video.size, video.fps) == (4, (48, 64), 24)
    assert [number_of(f) for f in video.read([0, 1, 2, 3])] == [2, 9, 10, 100]
    assert [number_of(f) for f in pickle.loads(pickle.dumps(video)).read([3])] == [100]
    assert Video.open(str(tmp_path), fps=6).fps == 6


def test_pictures_of_other_kinds(tmp_path: Path) -> None:
    Image.fromarray(numbered(5)).convert("L").save(tmp_path / "grey.jpg")
    Image.fromarray(numbered(5)).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(numbered(5)).quantize(8).save(tmp_path / "palette.png")
    for name in ("grey.jpg", "alpha.png", "palette.png"):
        assert number_of(read_picture(tmp_path / name)) == 5
        assert number_of(Video.open(tmp_path / name).read([0])[0]) == 5  # a picture is a video of one frame
    lying = Image.fromarray(np.rot90(numbered(5)).copy())
    exif = lying.getexif()
    exif[0x0112] = 6  # "turn a quarter clockwise to see it upright"
    lying.save(tmp_path / "phone.jpg", exif=exif)
    assert number_of(read_picture(tmp_path / "phone.jpg")) == 5
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(VideoError, match=r"deep\.png: expected a picture of 8 bits"):
        read_picture(tmp_path / "deep.png")


def test_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="expected a folder of numbered frames"):
        Video.open(tmp_path)
    for i in range(3):
        Image.fromarray(numbered(i)).save(tmp_path / f"{i:05d}.png")
    Image.fromarray(numbered(1, 50, 64)).save(tmp_path / "00001.png")
    with pytest.raises(VideoError, match=r"00001\.png: expected 64x48 as the folder's first frame, got 64x50"):
        Video.open(tmp_path).read([0, 1])
    (tmp_path / "00002.png").write_bytes((tmp_path / "00000.png").read_bytes()[:60])
    with pytest.raises(VideoError, match=r"00002\.png: expected a readable JPEG or PNG"):
        Video.open(tmp_path).read([2])
    (tmp_path / "00000.png").write_text("not a picture")
    with pytest.raises(VideoError, match=r"00000\.png: expected a readable"):
        Video.open(tmp_path)


def test_arrays() -> None:
    frames = np.stack([numbered(i) for i in range(5)])
    video = Video.open(frames)
    assert (len(video), video.size, video.fps) == (5, (48, 64), 24)
    assert [number_of(f) for f in video.read([4, 0, 4])] == [4, 0, 4]
    assert video.read([]).shape == (0, 48, 64, 3)
    assert Video.open(video) is video
    assert Video.open(video, fps=3).fps == 3
    assert "5 frames of 64x48" in repr(video)
    for bad in (frames.astype(np.float32), frames[0], frames[:0], frames[..., :2], np.zeros((2, 0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            Video.open(bad)
    with pytest.raises(InputError, match="fps above 0"):
        Video.open(frames, fps=0)


def test_a_window_is_a_video_of_its_own(make_video: Callable[..., Path]) -> None:
    video = Video.open(make_video("windowed.mp4", 30))
    window = video.window(10, 20)
    assert (len(window), window.size, window.fps, window.id) == (10, video.size, video.fps, video.id)
    assert [number_of(f) for f in window.read([9, 0, 3])] == [19, 10, 13]
    inner = pickle.loads(pickle.dumps(window.window(2, 5)))
    assert [number_of(f) for _, f in inner.stream()] == [12, 13, 14]
    with pytest.raises(InputError, match=r"in 0\.\.9, got \[10\]"):
        window.read([10])
    for first, end in ((-1, 5), (5, 5), (6, 5), (0, 11)):
        with pytest.raises(InputError, match=r"expected a window \[first, end\) of frames in 0\.\.10"):
            window.window(first, end)


def test_indices_are_checked() -> None:
    video = Video.open(np.zeros((5, 4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"in 0\.\.4, got \[5, -1\]"):
        video.read([0, 5, -1])
    with pytest.raises(InputError, match="list of integers"):
        video.read(np.array([0.5]))
    with pytest.raises(InputError, match="chunk"):
        next(video.stream(chunk=0))
    short = Video("v", (4, 4), 24, 5, lambda ids: np.zeros((len(ids) - 1, 4, 4, 3), np.uint8))
    with pytest.raises(VideoError, match=r"short read, expected uint8\[2, 4, 4, 3\], got uint8\[1, 4, 4, 3\]"):
        short.read([0, 1])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_files_that_are_no_videos(make_video: MakeVideo, tmp_path: Path) -> None:
    import av

    whole = make_video("b_frames.mp4", 90, options={"bf": "3", "g": "250"}).read_bytes()
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    cases = {
        tmp_path / "missing.mp4": "no such file or folder",
        write(tmp_path / "empty.mp4", b""): "expected a video file that FFmpeg can read",
        write(tmp_path / "text.mp4", b"hello world\n" * 50): "expected a video file",
        write(tmp_path / "noise.mp4", np.random.default_rng(0).bytes(5000)): "expected a video file",
        write(tmp_path / "cut.mp4", whole[: len(whole) // 2]): "expected a video file",  # the index is at its end
        sound: "no video stream",
    }
    for path, message in cases.items():
        with pytest.raises(VideoError, match=message) as caught:
            Video.open(path)
        assert path.name in str(caught.value)


def test_a_file_cut_short_gives_the_frames_it_has(make_video: MakeVideo, tmp_path: Path) -> None:
    path = tmp_path / "streamed.mp4"
    whole = make_video("streamed.mp4", 90, options={"g": "30"}, container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    with pytest.warns(RevsegWarning, match="cut short"):
        video = Video.open(path)
    assert 10 < len(video) < 90
    assert [number_of(f) for f in video.read(range(len(video)))] == list(range(len(video)))


def test_a_damaged_stretch_is_reported_and_the_rest_is_read(make_video: MakeVideo, tmp_path: Path) -> None:
    import av

    source = make_video("damaged.mp4", 90, options={"g": "15", "bf": "0"})
    with av.open(str(source)) as container:
        packets = [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(source.read_bytes())
    start, size = packets[60]  # a key frame
    data[start : start + size] = b"\xff" * size
    video = Video.open(write(tmp_path / "damaged.mp4", bytes(data)))
    assert [number_of(f) for f in video.read([0, 59, 80])] == [0, 59, 80]
    with pytest.raises(VideoError, match=r"damaged\.mp4: short read, frame 60 of 90 cannot be decoded"):
        video.read([60])


def test_a_file_that_vanishes(make_video: MakeVideo, tmp_path: Path) -> None:
    copy = tmp_path / "gone.mp4"
    shutil.copy(make_video("b_frames.mp4", 90), copy)
    video = pickle.loads(pickle.dumps(Video.open(copy)))
    copy.unlink()
    with pytest.raises(VideoError, match=r"gone\.mp4: cannot read frame 3 of 90"):
        video.read([3])


def test_no_timestamps(make_video: MakeVideo) -> None:
    video = Video.open(make_video("raw.h264", 10))
    assert [number_of(frame) for frame in video.read([9, 0, 4])] == [9, 0, 4]


def test_the_reader_holds_timestamps_only(make_video: MakeVideo) -> None:
    reader = make_kind(make_video, "b_frames.mp4")[0].reader
    assert isinstance(reader, FileReader)
    assert reader.pts.nbytes == 90 * 8
    assert len(pickle.dumps(reader)) < 3000


def test_decord_gives_the_same_frames_of_a_closed_file(make_video: Callable[..., Path]) -> None:
    path = make_video("closed.mp4", 60, options={"g": "12"})
    ours, theirs = Video.open(path), Video.open(path, backend="decord")
    assert (theirs.size, theirs.length, theirs.fps) == (ours.size, ours.length, pytest.approx(ours.fps))
    indices = [59, 0, 13, 13, 40]
    assert [number_of(frame) for frame in theirs.read(indices)] == indices
    # two converters from YUV: they round differently
    assert np.abs(theirs.read(indices).astype(int) - ours.read(indices)).max() <= 4
    again = pickle.loads(pickle.dumps(theirs))
    assert [number_of(frame) for frame in again.read([7])] == [7]


def test_decord_names_what_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(VideoError, match=r"notes\.mp4.*decord can read"):
        Video.open(path, backend="decord")
    with pytest.raises(InputError, match="backend"):
        Video.open(path, backend="opencv")
