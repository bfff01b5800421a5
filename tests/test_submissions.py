"""Archives for the servers: two opposite layouts, whole or not at all, and never a member that lands elsewhere."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from revseg.errors import InputError, OutputError, SpecError
from revseg.evaluation import Results, check_submission, write_submission
from revseg.evaluation.results import to_line
from revseg.evaluation.submissions import safe_member
from revseg.masks import MaskTrack

MASK = np.zeros((2, 6, 8), bool)
MASK[0, 1:3, 2:5] = True
FORMATS = ("mevis", "ref_youtube_vos")


def row(index: int, masks: np.ndarray | None = MASK, video: str = "cat", **meta: Any) -> dict[str, Any]:
    return {
        "index": index,
        "failure": None if masks is not None else "crash:ValueError",
        "video": {"id": video, "size": [6, 8], "fps": 6.0, "frames": 2},
        "query": {"id": f"{video}/{index}", "text": "it"},
        "masks": None if masks is None else MaskTrack.from_dense(masks).to_dict(),
        "truth": None,
        "meta": meta,
    }


def results(folder: Path, *rows: dict[str, Any], samples: int | None = None) -> Results:
    header = {"format": "revseg-results", "version": 2, "samples": len(rows) if samples is None else samples}
    path = folder / "r.jsonl"
    path.write_bytes(b"".join(to_line(line) for line in [header, *rows]))
    return Results.open(path)


def members(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {name: np.array(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}


def archive_of(path: Path, pictures: dict[str, Any]) -> Path:
    """A zip by hand: arrays as PNG, bytes as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, picture in pictures.items():
            data = io.BytesIO()
            if isinstance(picture, bytes):
                data.write(picture)
            else:
                Image.fromarray(picture).save(data, "PNG")
            archive.writestr(name, data.getvalue())
    return path


@pytest.mark.parametrize(("format", "root"), [("mevis", ""), ("ref_youtube_vos", "Annotations/")])
def test_layout_and_pixels(tmp_path: Path, format: str, root: str):
    two = [row(0, video="cat", exp_id="3", frames=["00005", "00010"]), row(1, None, video="dog")]
    held = results(tmp_path, *two)
    path = write_submission(held, tmp_path / "out" / "s.zip", format)
    found = members(path)
    assert list(found) == [f"{root}{m}.png" for m in ("cat/3/00005", "cat/3/00010", "dog/1/00000", "dog/1/00001")]
    np.testing.assert_array_equal(found[f"{root}cat/3/00005.png"], MASK[0] * 255)
    assert not found[f"{root}dog/1/00000.png"].any()  # a crash, or nothing found: black, and not left out
    assert check_submission(path, format, held) == []
    other = FORMATS[1 - FORMATS.index(format)]
    assert len(check_submission(path, other)) >= 4
    again = write_submission(held, tmp_path / "again.zip", format)
    assert again.read_bytes() == path.read_bytes()


def test_several_objects_are_one_mask(tmp_path: Path):
    other = np.roll(MASK, 2, axis=1)
    path = write_submission(results(tmp_path, row(0, np.stack([MASK, other]))), tmp_path / "s.zip", "mevis")
    np.testing.assert_array_equal(members(path)["cat/0/00000.png"], (MASK | other)[0] * 255)


NASTY = ["..", "../x", "a/../../x", "/etc/x", "C:x", "C:\\x", "a\\..\\b", "", "a//b", ".", "a/.", "a\x00", "a\n", "nul"]
NASTY += ["CON.txt", "a ", "a.", "~/..", "a*b"]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("where", ["video", "exp_id", "frame"])
def test_nothing_lands_elsewhere_and_nothing_is_left_behind(tmp_path: Path, name: str, where: str):
    meta: dict[str, Any] = {"frames": ["00000", name]} if where == "frame" else {where: name}
    if where == "frame" and name in ("..", ".", "", "a ", "a."):
        return  # with ".png" behind it this is a plain name
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InputError, match="could land elsewhere"):
        write_submission(results(folder, row(0), row(1, **meta)), tmp_path / "s.zip", "mevis")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["\ud83d", "x" * 300, "x/" * 40_000 + "x"])
def test_names_that_no_archive_or_disk_takes(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="cannot be the name of a file"):
        write_submission(results(tmp_path, row(0, exp_id=name)), tmp_path / "s.zip", "mevis")
    assert not list(tmp_path.glob("*.zip*"))


@given(st.lists(st.text(st.sampled_from("ab./\\:~ \x00"), max_size=6), min_size=1, max_size=3))
def test_a_safe_member_stays_inside(parts: list[str]):
    try:
        name = safe_member(*parts)
    except InputError:
        return
    inside = Path("/base/folder")
    assert (inside / name).resolve().is_relative_to(inside)
    assert name == "/".join(parts)
    assert not set(name) & set("\\:\x00")


def test_ids_with_folders_of_their_own_are_fine():
    assert safe_member("MOSE/2c1e", "0", "00000.png") == "MOSE/2c1e/0/00000.png"


def test_what_cannot_be_submitted(tmp_path: Path):
    with pytest.raises(InputError, match="1 of 2 rows"):
        write_submission(results(tmp_path, row(0), samples=2), tmp_path / "s.zip", "mevis")
    with pytest.raises(InputError, match="already"):
        write_submission(results(tmp_path, row(0, exp_id="1"), row(1, exp_id="1")), tmp_path / "s.zip", "mevis")
    with pytest.raises(InputError, match="2 names of frames, got 1"):
        write_submission(results(tmp_path, row(0, frames=["a"])), tmp_path / "s.zip", "mevis")
    lost = {"index": 0, "failure": "crash:VideoError", "masks": None, "truth": None, "meta": {}}
    with pytest.raises(InputError, match="could not be loaded"):
        write_submission(results(tmp_path, lost), tmp_path / "s.zip", "mevis")
    with pytest.raises(SpecError, match="mevis"):
        write_submission(results(tmp_path, row(0)), tmp_path / "s.zip", "revos")
    assert not (tmp_path / "s.zip").exists()
    (tmp_path / "s.zip").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_submission(results(tmp_path, row(0)), tmp_path / "s.zip", "mevis")
    assert (tmp_path / "s.zip").read_text() == "mine"


PICTURE = (MASK[0] * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ({}, "empty"),
        ({"../v/0/00000.png": PICTURE}, "elsewhere"),
        ({"/v/0/00000.png": PICTURE}, "elsewhere"),
        ({"v/00000.png": PICTURE}, "<video>/<expression>"),
        ({"v/0/00000.jpg": PICTURE}, "a .png file"),
        ({"Annotations/v/0/00000.png": PICTURE}, "without Annotations/"),
        ({"v/0/00000.png": MASK[0].astype(np.uint8)}, "0 and 255, got [1]"),
        ({"v/0/00000.png": np.stack([PICTURE] * 3, -1)}, "mode RGB"),
        ({"v/0/00000.png": b"not a picture"}, "cannot be read"),
        ({"v/0/00000.png": PICTURE, "v/1/00000.png": PICTURE[:4]}, "several sizes"),
        ({"v/0/00000.png": PICTURE, "v/0/00001.png": PICTURE, "v/1/00000.png": PICTURE}, "such as 00001.png"),
    ],
)
def test_the_validator_names_what_is_wrong(tmp_path: Path, pictures: dict[str, Any], said: str):
    problems = check_submission(archive_of(tmp_path / "s.zip", pictures), "mevis")
    assert any(said in problem for problem in problems), problems


def test_the_validator_knows_what_is_missing(tmp_path: Path):
    held = results(tmp_path, row(0))
    path = archive_of(tmp_path / "s.zip", {"cat/0/00000.png": PICTURE, "cat/7/00000.png": PICTURE})
    assert check_submission(path, "mevis", held) == [
        "cat/0/00001.png: missing",
        "cat/7/00000.png: not one of the results",
    ]
    (tmp_path / "t.zip").write_text("no zip")
    assert "not a zip" in check_submission(tmp_path / "t.zip", "mevis")[0]
