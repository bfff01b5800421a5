"""What is drawn can be seen, and nothing else is touched; videos come back as they were written."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from revseg.colours import COLOURS, colour
from revseg.drawing import contact_sheet, overlay
from revseg.errors import InputError, OutputError
from revseg.video import Video
from revseg.video.writing import write_png, write_video


def frame_of(value: int | tuple[int, int, int], h: int = 60, w: int = 90) -> np.ndarray:
    return np.full((h, w, 3), value, np.uint8)


def square(y1: int, x1: int, y2: int, x2: int, h: int = 60, w: int = 90) -> np.ndarray:
    out = np.zeros((1, h, w), bool)
    out[0, y1:y2, x1:x2] = True
    return out


def test_colours_are_distinct() -> None:
    found = [colour(i) for i in range(60)]
    assert len(set(found)) == 60
    assert found[0] == (0xFF, 0x3B, 0x6B)
    assert all(0 <= c <= 255 for rgb in found for c in rgb)
    assert len(COLOURS) == 8


def test_overlay_by_hand() -> None:
    frame = frame_of(100)
    drawn = overlay(frame, square(20, 30, 40, 60), dim=0)
    assert (drawn[22:38, 32:58] == 100).all()  # inside: the object as it is
    assert (drawn[20, 45] == colour(0)).all()  # the outline runs on the mask's own edge
    assert (drawn[19, 45] < 100).all()  # and a dark one around it
    assert (drawn[:16] == 100).all()
    assert (drawn[:, 64:] == 100).all()
    assert (frame == 100).all()  # the frame given is not touched


def test_the_rest_is_dimmed_and_the_object_keeps_its_colours() -> None:
    frame = frame_of((200, 40, 40))
    frame[10:50, 10:50] = (40, 40, 220)
    drawn = overlay(frame, square(10, 10, 50, 50), colours=[(1, 255, 2)])
    assert (drawn[12:48, 12:48] == (40, 40, 220)).all()
    assert (drawn[10, 30] == (1, 255, 2)).all()
    assert (drawn[:, 60:].max((0, 1)) <= 0.6 * frame[:, 60:].max((0, 1)) + 30).all()
    assert len(np.unique(drawn[:, 60:].reshape(-1, 3), axis=0)) == 1
    assert (overlay(frame, square(0, 0, 0, 0))[12, 12] < frame[12, 12]).any()  # nothing here: all is the rest
    assert (overlay(frame, np.zeros((0, 60, 90), bool)) == frame).all()  # no object at all: as it is


def test_an_object_inside_another_is_not_covered_by_its_dark_line() -> None:
    frame, masks = frame_of(200), np.concatenate([square(5, 5, 55, 55), square(20, 20, 40, 40)])
    drawn = overlay(frame, masks)
    assert (drawn[17, 22:38] == 200).all()


@pytest.mark.parametrize("value", [0, 128, 255, *(colour(i) for i in range(3))])
def test_visible_on_any_background(value: int | tuple[int, int, int]) -> None:
    frame = frame_of(value)
    drawn = overlay(frame, square(10, 10, 50, 50)).astype(int)
    assert np.abs(drawn - frame).max(axis=(1, 2)).reshape(-1)[10:50].min() > 60  # every row of the mask shows a line


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_any_mask_can_be_drawn_and_far_pixels_stay(seed: int, h: int, w: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    frame, masks = rng.integers(0, 256, (h, w, 3), np.uint8), rng.random((objects, h, w)) < 0.02
    drawn = overlay(frame, masks, dim=0)
    assert drawn.shape == overlay(frame, masks).shape == frame.shape
    grown = np.zeros((h, w), bool)
    for y, x in np.argwhere(masks.any(0)):
        grown[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = True
    assert (drawn == frame)[~grown].all()


def test_clips_boxes_and_labels() -> None:
    frames = np.stack([frame_of(90), frame_of(120)])
    masks = np.stack([square(5, 5, 20, 20)[0], square(30, 30, 50, 80)[0]])[None]
    drawn = overlay(frames, masks)
    np.testing.assert_array_equal(drawn[1], overlay(frames[1], masks[:, 1]))
    boxes = np.array([[0.5, 0.5, 0.9, 0.9]], np.float32)
    plain, boxed = frame_of(90), overlay(frame_of(90), np.zeros((0, 60, 90), bool), boxes)
    assert (boxed[30, 50] == colour(0)).all()
    assert (boxed[:25] == plain[:25]).all()
    for text in ("the dog", "café – 狗", "a very long description " * 9):
        labelled = overlay(plain, square(0, 0, 20, 20), boxes, [text])
        assert labelled.shape == plain.shape
        assert (labelled != overlay(plain, square(0, 0, 20, 20), boxes)).any()
    assert overlay(plain, square(0, 0, 0, 0), None, ["not there"], dim=0).tolist() == plain.tolist()
    with pytest.raises(InputError, match="expected masks"):
        overlay(plain, np.zeros((1, 50, 90), bool))


def test_contact_sheet() -> None:
    frames = [frame_of(i * 20) for i in range(5)]
    sheet = contact_sheet(frames, [0, 4, 8, 12, 16], 2, columns=3, width=90)
    assert sheet.shape == (2 * (60 + 4) + 4, 3 * (90 + 4) + 4, 3)
    assert (sheet[4 + 40, 4 + 94 + 50] == 20).all()  # the second frame, untouched below its caption
    golden = (sheet == (0xF9, 0xAB, 0x00)).all(-1)
    assert golden[2:66, 190:194].any()  # around the third frame
    assert not golden[70:].any()
    assert not (contact_sheet(frames, columns=3, width=90) == (0xF9, 0xAB, 0x00)).all(-1).any()
    with pytest.raises(InputError, match="expected frames"):
        contact_sheet([])


def test_png(tmp_path: Path) -> None:
    mask = square(5, 6, 20, 40)[0]
    write_png(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), mask * np.uint8(255))
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    write_png(tmp_path / "rgb.png", rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "rgb.png")), rgb)
    with pytest.raises(OutputError, match="exists"):
        write_png(tmp_path / "rgb.png", rgb)
    for bad in (rgb.astype(float), rgb[None], rgb[..., :2]):
        with pytest.raises(InputError, match="expected uint8"):
            write_png(tmp_path / "bad.png", bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mask.png", "rgb.png"]


@pytest.mark.parametrize("size", [(48, 64), (49, 67), (2, 2), (1, 1)])
def test_video_comes_back(tmp_path: Path, size: tuple[int, int]) -> None:
    shades = [(255, 0, 0), (0, 255, 0), (30, 90, 200), (128, 128, 128)]
    write_video(tmp_path / "v.mp4", (frame_of(s, *size) for s in shades), fps=30000 / 1001)
    video = Video.open(tmp_path / "v.mp4")
    assert len(video) == 4
    assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert video.fps == pytest.approx(30000 / 1001)
    for found, shade in zip(video.read(range(4)), shades, strict=True):
        assert np.abs(found.astype(int) - shade).max() <= 6


def test_video_plays_in_a_browser(tmp_path: Path) -> None:
    import av

    write_video(tmp_path / "v.mp4", [frame_of(50)] * 3, fps=24)
    with av.open(str(tmp_path / "v.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.canonical_name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is there whole


def test_video_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks() -> Iterator[np.ndarray]:
        yield frame_of(0)
        raise RuntimeError("the tracker fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_video(tmp_path / "v.mp4", breaks(), fps=24)
    with pytest.raises(InputError, match="got none"):
        write_video(tmp_path / "v.mp4", [], fps=24)
    with pytest.raises(InputError, match=r"expected frames uint8\[60, 90, 3\], got uint8\[20, 20, 3\]"):
        write_video(tmp_path / "v.mp4", [frame_of(0), frame_of(0, 20, 20)], fps=24)
    with pytest.raises(InputError, match="fps"):
        write_video(tmp_path / "v.mp4", [frame_of(0)], fps=0)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "v.mp4", [frame_of(0)], fps=24)
    with pytest.raises(OutputError, match="exists"):
        write_video(tmp_path / "v.mp4", [frame_of(0)], fps=24)
    write_video(tmp_path / "v.mp4", [frame_of(0)] * 2, fps=24, overwrite=True)
    assert len(Video.open(tmp_path / "v.mp4")) == 2
