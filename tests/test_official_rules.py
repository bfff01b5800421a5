"""Benchmarks from folders on disk to figures: drawn trees against the official scorers, and each rule by itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import official_scorers as official
import pytest
from benchmark_trees import (
    TREES,
    code,
    rectangle,
    square,
    uncompressed,
    write_binary,
    write_json,
    write_palette,
    write_parquet,
)
from conftest import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import built
from PIL import Image
from typer.testing import CliRunner

import revseg
from revseg import build
from revseg.cli.app import app
from revseg.datasets.check import check
from revseg.datasets.png_masks import read_labels
from revseg.errors import InputError
from revseg.evaluation import Results, score
from revseg.evaluation.scores.revos import check_modes
from revseg.masks import MaskTrack

SIZE = (10, 14)
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("tree")


def drawn(rng: np.random.Generator, t: int) -> np.ndarray:
    """bool[t h w]: rectangles; on some frames nothing, rarely everything."""
    masks = np.zeros((t, *SIZE), bool)
    for mask in masks:
        if rng.random() > 0.25:
            y, x = (np.sort(rng.integers(0, side + 1, 2)) for side in SIZE)
            mask[y[0] : y[1], x[0] : x[1]] = True
        mask[:] |= rng.random() > 0.95
    return masks


def codes(rng: np.random.Generator, masks: np.ndarray) -> list[Any]:
    """COCO codes of both forms, null for some empty masks; some lists go on beyond the video."""
    listed = [
        None if not m.any() and rng.random() < 0.7 else code(m) if rng.random() < 0.7 else uncompressed(m)
        for m in masks
    ]
    return listed + [code(np.ones(SIZE, bool))] * int(rng.integers(0, 3))


def pictures(folder: Path, frames: list[str]) -> list[str]:
    folder.mkdir(parents=True)
    for name in frames:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / f"{name}.jpg")
    return frames


def rle_tree(rng: np.random.Generator, base: Path, file: str, types: bool) -> None:
    """Two videos, objects that overlap, expressions with no, one or several objects; ids that sort as text."""
    videos, masks, every = {}, {}, {}
    for video in ("v1", "a/v2") if types else ("v1", "v2"):
        frames = pictures(base / "JPEGImages" / video, [f"{5 * i:05d}" for i in range(int(rng.integers(1, 4)))])
        ids = [len(masks) + i for i in range(int(rng.integers(1, 4)))]
        objects = [drawn(rng, len(frames)) for _ in ids]
        masks |= {str(i): codes(rng, one) for i, one in zip(ids, objects, strict=True)}
        every[video] = {"masks_rle": [code(np.any([one[t] for one in objects], 0)) for t in range(len(frames))]}
        said = {}
        for number in rng.permutation(12)[: rng.integers(3, 6)]:
            kind = int(rng.integers(3))
            mine = [] if kind == 2 else sorted(set(rng.choice(ids, size=rng.integers(1, 3)).tolist()))
            said[str(number)] = {"exp": "x", "obj_id": mine, "anno_id": mine} | ({"type_id": kind} if types else {})
        videos[video] = {"frames": frames, "expressions": said}
    if types:  # one of each type, so that there is a mean
        first = next(iter(videos["v1"]["expressions"].values()))
        for kind in (0, 1):
            videos["v1"]["expressions"][f"9{kind}"] = {**first, "anno_id": ["0"], "type_id": kind}
    write_json(base / file, {"videos": videos})
    write_json(base / "mask_dict.json", masks)
    write_json(base / "mask_dict_foreground.json", every)


def answered(
    rng: np.random.Generator, data: Any, out: Path, lost: float, place: Callable[[Any], str] = lambda s: s.query.id
) -> dict[str, np.ndarray | None]:
    """Answers, as arrays and as PNG files: the truth, rectangles, nothing; some are not there."""
    found: dict[str, np.ndarray | None] = {}
    for sample in data:
        masks = drawn(rng, len(sample.video)) & (rng.random() > 0.2)
        if rng.random() < 0.3 and len(sample.truth) == len(sample.video):
            masks = sample.truth.union().dense()[0]
        found[sample.query.id] = None if rng.random() < lost else masks
        if found[sample.query.id] is not None:
            official.write_answer(out / place(sample), sample.meta["frames"], masks)
    return found


seeds = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=examples(25), deadline=None)


@seeds
@few
def test_mevis_is_the_official_figure(folders: Callable[[], Path], seed: int):
    rng, root = np.random.default_rng(seed), folders()
    rle_tree(rng, root / "valid_u", "meta_expressions_v2.json", types=False)
    data = build("dataset", f"mevis:root={root}")
    results = official.written(data, answered(rng, data, root / "out", 0.2), root / "r.jsonl", "mevis")
    expected = official.mevis(root / "valid_u", "meta_expressions_v2.json", root / "out")
    zero = score(results, draws=0).overall
    assert [zero["J"], zero["F"]] == pytest.approx(
        list(np.sum(list(expected.values()), 0) / len(data)) if expected else [0, 0], rel=0, abs=1e-12
    )
    if expected:
        kept = score(results, missing="skip", draws=0).overall
        assert [kept["J"], kept["F"]] == pytest.approx(list(np.mean(list(expected.values()), 0)), rel=0, abs=1e-12)


@seeds
@few
def test_revos_is_the_official_figure(folders: Callable[[], Path], seed: int):
    rng, root = np.random.default_rng(seed), folders()
    rle_tree(rng, root, "meta_expressions_valid_.json", types=True)
    data = build("dataset", f"revos:root={root}")
    results = official.written(data, answered(rng, data, root / "out", 0.2), root / "r.jsonl", "revos")
    for mode, scale in (("legacy_01", 1), ("legacy_255", 255)):
        expected = official.revos(root, root / "out", scale)
        found = score(results, robustness=mode, draws=0).overall
        assert {name: 100 * found[name] for name in "JFAR"} == pytest.approx(expected, rel=0, abs=1e-9)
        assert 100 * score(results, accuracy=mode, draws=0).overall["A"] == pytest.approx(
            expected["A"], rel=0, abs=1e-9
        )


@seeds
@few
def test_reason_vos_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """Masks on some frames only, of which the list lacks some; answers that are not there."""
    rng, root = np.random.default_rng(seed), folders()
    videos = {}
    for video in ("v1", "v_2"):
        frames = pictures(root / "JPEGImages" / video, [f"{i:05d}" for i in range(int(rng.integers(2, 6)))])
        said = [{"obj_id": o, "exp_id": e, "exp_text": "x", "is_sent": 1} for o in (1, 12) for e in range(2)]
        for obj in (1, 12):
            chosen = [frame for frame in frames if rng.random() < 0.6] or frames[:1]
            for frame, mask in zip(chosen, drawn(rng, len(chosen)), strict=True):
                write_binary(
                    root / "Annotations" / f"BURST_{video}_{obj}" / f"{frame}.png", mask, int(rng.choice([1, 255]))
                )
        listed = [frame for frame in frames if rng.random() < 0.7] or frames[-1:]
        videos[video] = {"source": "BURST", "frames": listed, "expressions": said}
    write_json(root / "meta_expressions.json", {"videos": videos})
    data = build("dataset", f"reason_vos:root={root}")
    results = official.written(data, answered(rng, data, root / "out", 0.2), root / "r.jsonl", "reason_vos")
    expected = official.reason_vos(root, root / "out")
    total = np.sum(list(expected.values()), 0) if expected else np.zeros(2)
    zero = score(results, draws=0).overall
    assert [zero["J"], zero["F"]] == pytest.approx(list(total / len(data)), rel=0, abs=1e-12)
    if expected:
        kept = score(results, missing="skip", draws=0).overall
        assert [kept["J"], kept["F"]] == pytest.approx(list(total / len(expected)), rel=0, abs=1e-12)


@seeds
@few
def test_long_rvos_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """Values of any size in the masks, files that are not there, an answer that is not there."""
    rng, root = np.random.default_rng(seed), folders()
    base, videos = root / "valid", {}
    for video in ("v1", "v2"):
        frames = pictures(base / "JPEGImages" / video, [f"{i:05d}" for i in range(int(rng.integers(1, 6)))])
        for obj in ("1", "12"):
            for frame, mask in zip(frames, drawn(rng, len(frames)), strict=True):
                if rng.random() < 0.8 or frame == frames[0]:
                    path = base / "Annotations" / video / obj / f"{frame}.png"
                    write_binary(path, mask, int(rng.choice([1, 128, 255])))
        kinds = ("static", "dynamic", "hybrid")
        said = {str(i): {"exp": "x", "obj_id": ("1", "12")[i % 2], "type": kinds[i % 3]} for i in range(5)}
        videos[video] = {"frames": frames, "expressions": said}
    write_json(base / "meta_expressions.json", {"videos": videos})
    data = build("dataset", f"long_rvos:root={root}")
    results = official.written(data, answered(rng, data, root / "out", 0.15), root / "r.jsonl", "long_rvos")
    expected = official.long_rvos(base, root / "out")
    found = score(results, draws=0)
    names = ("J", "F", "tIoU", "vIoU")
    assert [found.overall[n] for n in names] == pytest.approx(
        list(np.mean(list(expected.values()), 0)), rel=0, abs=1e-12
    )
    for kind in ("static", "dynamic", "hybrid"):
        mine = [v for (video, key), v in expected.items() if videos[video]["expressions"][key]["type"] == kind]
        assert [found.groups[kind][n] for n in names] == pytest.approx(list(np.mean(mine, 0)), rel=0, abs=1e-12)


@seeds
@few
def test_groundmore_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """Clips shorter and longer than 20 frames, both names of masks, masks that are not there, long and odd actions."""
    rng, root, kinds, videos = np.random.default_rng(seed), folders(), ("Causal", "Sequential"), {}
    for video, form in (("a_0059_0107", "frame_{:06d}.png"), ("b-_b_0100_0109", "{:07d}.png")):
        count = int(rng.integers(1, 45))
        pictures(root / "annotations" / video / "images", [f"{7 * i:06d}" for i in range(count)])
        for index in range(count):
            label = drawn(rng, 1)[0] + 2 * drawn(rng, 1)[0].astype(np.uint8)
            if index == 0 or rng.random() < 0.8:
                write_palette(root / "annotations" / video / "masks" / form.format(index), label)
        said = {}
        for number in range(3):
            start, length = int(rng.integers(57, 66)), int(rng.integers(0, 5))
            begin, end = (f"{t // 60}:{t % 60:02d}" for t in (start, start + length))
            action = {"action_start": begin, "action_end": f"00:0{end}"}
            said[str(number)] = {"question": "x", "answer": "y", "obj_id": 1 + number % 2, "q_type": kinds[number % 2]}
            said[str(number)] |= action
        videos[video] = {"questions": said}
    write_json(root / "test_v2.json", {"videos": videos})
    for every in (False, True):
        data = build("dataset", {"name": "groundmore", "root": str(root), **({"frames": "all"} if every else {})})
        answers: dict[str, np.ndarray | None] = {}
        for sample in data:
            masks = drawn(rng, len(sample.video)) & (rng.random() > 0.2)
            answers[sample.query.id] = None if rng.random() < 0.2 else masks
        results = official.written(data, answers, root / f"{every}.jsonl", "groundmore")
        expected = official.groundmore(root, answers, every)
        total = np.sum([v[:2] for v in expected.values()], 0) if expected else np.zeros(2)
        zero = score(results, draws=0)
        assert [zero.overall[n] for n in "JF"] == pytest.approx(list(total / len(data)), rel=0, abs=1e-12)
        if not expected:
            continue
        kept = score(results, missing="skip", draws=0)
        names = ("J", "F", "J&F (all empty)")
        means = np.mean([v[:3] for v in expected.values()], 0)
        assert [kept.overall[n] for n in names] == pytest.approx(list(means), rel=0, abs=1e-12)
        for kind in kinds if len({v[3] for v in expected.values()}) > 1 else ():
            mine = [v[:3] for v in expected.values() if v[3] == kind]
            assert [kept.groups[kind][n] for n in names] == pytest.approx(list(np.mean(mine, 0)), rel=0, abs=1e-12)


@seeds
@few
def test_ref_sav_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """The mean of long and short, of which there are not as many; some answers are not there."""
    rng, base = np.random.default_rng(seed), folders() / "valid"
    rle_tree(rng, base, "meta_expressions_valid.json", types=True)
    (base / "JPEGImages").rename(base / "videos")
    listed = json.loads((base / "meta_expressions_valid.json").read_text())
    for entry in listed["videos"].values():
        for fields in entry["expressions"].values():
            fields["type_id"] = min(fields["type_id"], 1)
    write_json(base / "meta_expressions_valid.json", listed)
    data = build("dataset", f"ref_sav:root={base.parent}")
    answers = answered(rng, data, base / "out", 0.2)
    results = official.written(data, answers, base / "r.jsonl", "ref_sav")
    expected = {kind: np.mean(values, 0) for kind, values in official.ref_sav(base, answers).items()}
    found = score(results, draws=0)
    for group, values in (("long", expected[0]), ("short", expected[1])):
        assert [found.groups[group][n] for n in "JF"] == pytest.approx(list(values), rel=0, abs=1e-12)
    both = (expected[0] + expected[1]) / 2
    assert [found.overall[n] for n in "JF"] == pytest.approx(list(both), rel=0, abs=1e-12)
    assert found.overall["J&F"] == pytest.approx(both.mean(), rel=0, abs=1e-12)


@seeds
@few
def test_fevos_is_the_mean_over_expressions(folders: Callable[[], Path], seed: int):
    rng, root = np.random.default_rng(seed), folders()
    rle_tree(rng, root, "meta_expressions_val.json", types=False)
    data = build("dataset", f"fevos:root={root}")
    answers = answered(rng, data, root / "out", 0.2)
    results = official.written(data, answers, root / "r.jsonl", "fevos")
    expected = np.mean(official.fevos(root, answers), 0)
    found = score(results, draws=0).overall
    assert [found[n] for n in ("J", "F", "J&F")] == pytest.approx([*expected, expected.mean()], rel=0, abs=1e-12)


@pytest.mark.skipif("ok_vos" not in TREES, reason="needs pyarrow")
@seeds
@few
def test_ok_vos_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """Annotations on some frames, values besides 255; officially an answer that is not there is in no mean."""
    rng, root, rows = np.random.default_rng(seed), folders(), []
    for video in ("v1", "v2"):
        frames = pictures(root / "test/JPEGImages" / video, [f"{i:05d}" for i in range(int(rng.integers(1, 6)))])
        for obj in (1, 12):
            for number, mask in enumerate(drawn(rng, len(frames))):
                if number == 0 or rng.random() < 0.6:
                    label = np.maximum(mask * np.uint8(255), drawn(rng, 1)[0] * np.uint8(7))
                    write_binary(root / f"test/Annotations/{video}/{obj}/{frames[number]}.png", label, 1)
        for number, ability in enumerate(("one-hop", "multi-hop", "relational", "one-hop")):
            names, oid = rng.permutation(frames).tolist(), (1, 12)[number % 2]
            rows.append(
                {"id": number, "question": "x", "video": video, "images": names, "oid": oid, "ability": ability}
            )
    write_parquet(root / "test.parquet", rows)
    data = build("dataset", f"ok_vos:root={root}")
    answers = answered(rng, data, root / "out", 0.2)
    results = official.written(data, answers, root / "r.jsonl", "ok_vos")
    expected = official.ok_vos(root / "test", rows, answers)
    every = [values for group in expected.values() for values in group]
    total = np.sum(every, 0) if every else np.zeros(2)
    zero = score(results, draws=0).overall
    assert [zero["J"], zero["F"]] == pytest.approx(list(total / len(data)), rel=0, abs=1e-12)
    kept = score(results, missing="skip", draws=0)
    if every:
        assert [kept.overall[n] for n in "JF"] == pytest.approx(list(np.mean(every, 0)), rel=0, abs=1e-12)
    for ability, values in expected.items():
        assert [kept.groups[ability][n] for n in "JF"] == pytest.approx(list(np.mean(values, 0)), rel=0, abs=1e-12)


@seeds
@few
def test_reason_seg_is_the_official_figure(folders: Callable[[], Path], seed: int):
    """Rectangles of all sizes, some to be ignored, some pictures without target; some answers are not there."""
    rng, folder = np.random.default_rng(seed), folders() / "val"
    pictures(folder, [f"p{i}" for i in range(int(rng.integers(1, 5)))])
    for path in sorted(folder.glob("*.jpg")):
        shapes = []
        for _ in range(int(rng.integers(0, 5))):
            (top, bottom), (left, right) = (np.sort(rng.integers(-2, side + 3, 2)).tolist() for side in SIZE)
            label = str(rng.choice(["target", "target", "ignore", "flag"]))
            shapes.append(rectangle(label, left, top, right, bottom))
        content = {"shapes": shapes, "text": ["x"], "is_sentence": bool(rng.integers(2))}
        write_json(path.with_suffix(".json"), content)
    data = build("dataset", f"reason_seg:root={folder.parent}")
    answers: dict[str, np.ndarray | None] = {}
    for sample in data:
        answers[sample.query.id] = None if rng.random() < 0.2 else drawn(rng, 1) & (rng.random() > 0.2)
    results = official.written(data, answers, folder.parent / "r.jsonl", "reason_seg")
    expected = official.reason_seg(folder, answers)
    if expected:
        found = score(results, missing="skip", draws=0)
        ious, common, union = (np.array(column) for column in zip(*expected.values(), strict=True))
        assert found.overall["gIoU"] == pytest.approx(ious.mean(), rel=0, abs=1e-12)
        assert found.overall["cIoU"] == pytest.approx(common.sum() / (union.sum() + 1e-10), rel=0, abs=1e-12)
        assert set(found.overall) == {"gIoU", "cIoU"}
        kinds = {sample.video.id: sample.meta["type"] for sample in data}
        for kind in set(kinds.values()) if len(found.groups) > 1 else ():
            mine = [values[0] for name, values in expected.items() if kinds[name] == kind]
            assert found.groups.get(kind, {}).get("gIoU") == (pytest.approx(np.mean(mine)) if mine else None)
    total = sum(values[0] for values in expected.values())
    assert score(results, draws=0).overall["gIoU"] == pytest.approx(total / len(data), rel=0, abs=1e-12)


# each rule by itself


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def opened(name: str, **options: Any) -> Any:
        if not any(tmp_path.iterdir()):
            options = {**TREES[name](tmp_path), **options}
        return build("dataset", {"name": name, "root": str(tmp_path), **options})

    return opened


@pytest.mark.parametrize("file", ["meta_expressions_v2.json", "meta_expressions_v2_release.json"])
def test_the_names_of_mevis_two(file: str, tmp_path: Path):
    TREES["mevis"](tmp_path)
    for split in ("valid", "valid_u"):
        (tmp_path / split / "meta_expressions.json").rename(tmp_path / split / file)
    (tmp_path / "valid/mask_dict.json").write_bytes((tmp_path / "valid_u/mask_dict.json").read_bytes())  # as released
    for version in (None, 2):
        data = built("dataset", {"name": "mevis", "root": str(tmp_path), "split": "valid", "version": version})
        assert data.version == 2
        assert data[0].truth is None  # which masks an expression means is not released
        assert data[0].meta["no_target"] is None
        other = build("dataset", {"name": "mevis", "root": str(tmp_path), "split": "valid_u", "version": version})
        assert other[0].truth is not None
    (tmp_path / "valid/meta_expressions.json").write_bytes((tmp_path / "valid" / file).read_bytes())
    with pytest.raises(InputError, match=rf"contains meta_expressions\.json and {file}; choose with version"):
        build("dataset", {"name": "mevis", "root": str(tmp_path), "split": "valid"})


def test_mask_lists_longer_than_the_video_count_from_the_start(make: Make, tmp_path: Path):
    make("mevis")
    path = tmp_path / "valid_u/mask_dict.json"
    masks = json.loads(path.read_text())
    before = make("mevis")[0].truth
    write_json(path, {key: [*row, *row] for key, row in masks.items()})
    assert make("mevis")[0].truth.counts == before.counts
    write_json(path, {key: row[:-1] for key, row in masks.items()})
    with pytest.raises(InputError, match="one mask or null for each of the 4 frames, got 3"):
        make("mevis")[0]


def test_reason_vos_masks_of_frames_that_are_not_listed(make: Make, tmp_path: Path):
    make("reason_vos")
    annotations = tmp_path / "Annotations/BURST_vid_1"
    listed = json.loads((tmp_path / "meta_expressions.json").read_text())
    listed["videos"]["vid"]["frames"] = ["00000", "00015"]
    write_json(tmp_path / "meta_expressions.json", listed)
    sample = make("reason_vos")[0]
    assert sample.meta["frames"] == ["00000", "00010", "00015"]  # 00010 has a mask
    assert len(sample.video) == 3
    assert sample.truth.frame_ids.tolist() == [0, 1]
    assert np.array_equal(sample.truth.dense()[0, 1], square(2))
    write_binary(annotations / "00099.png", square(0))
    assert make("reason_vos")[0].meta["frames"] == ["00000", "00010", "00015"]  # no picture, so no prediction
    found = [problem.what for problem in check("reason_vos", str(tmp_path)).problems]
    assert any("1 masks of frames without a picture, 00099" in what for what in found)


def test_long_rvos_counts_anything_but_zero(make: Make, tmp_path: Path):
    make("long_rvos")
    path = tmp_path / "valid/Annotations/v/1/00000.png"
    for value in (1, 254, 255):
        write_binary(path, square(0), value)
        assert np.array_equal(make("long_rvos")[0].truth.dense()[0, 0], square(0))


LOSSY: dict[str, Callable[[Path], Path]] = {
    "ref_youtube_vos": lambda root: root / "train/Annotations/v1/00005",
    "ref_davis17": lambda root: root / "DAVIS/Annotations_unsupervised/480p/classic-car/00001",
    "reason_vos": lambda root: root / "Annotations/BURST_vid_1/00010",
    "long_rvos": lambda root: root / "valid/Annotations/v/1/00005",
    "folder": lambda root: root / "by_name/00010",
}


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png"])
@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_jpeg_files_are_no_masks(name: str, suffix: str, make: Make, tmp_path: Path):
    make(name)
    place = LOSSY[name](tmp_path)
    picture = Image.open(place.with_suffix(".png")).convert("L")
    place.with_suffix(".png").unlink()
    picture.save(place.with_suffix(suffix), "JPEG")  # whatever it is called
    with pytest.raises(InputError, match=rf"{place.name}\.\w+: expected a PNG mask, got JPEG"):
        list(make(name, **({"split": "train"} if name == "ref_youtube_vos" else {})))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "CMYK", "lossy WebP", "bomb"])
def test_pictures_that_are_no_masks_are_refused(mode: str, make: Make, tmp_path: Path, monkeypatch: Any):
    make("folder")
    path = tmp_path / "by_name/00010.png"
    mask = Image.fromarray(square(2).astype(np.uint8) * 255)
    if mode == "lossy WebP":
        mask.save(path, "WEBP", quality=30)
    elif mode == "bomb":
        mask.save(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(InputError, match=r"00010\.png: expected a"):
            read_labels(path)
        return
    elif mode == "CMYK":
        mask.convert("CMYK").save(path, "TIFF")
    else:
        (mask.convert("I;16") if mode == "I;16" else mask.convert(mode)).save(path)
    with pytest.raises(InputError, match=r"00010\.png: expected a"):
        make("folder")[0]


def test_antialiased_edges_are_refused(make: Make, tmp_path: Path):
    """An anti-aliased edge has values between; 255 beside numbers of objects are pixels to ignore."""
    make("folder")
    path = tmp_path / "by_name/00010.png"
    soft = np.where(square(2), 255, 0).astype(np.uint8)
    soft[8:16, 3] = 97
    Image.fromarray(soft).save(path)
    with pytest.raises(InputError, match=r"00010\.png: expected 0 and one other value, got 255 and 97: antialiased"):
        make("folder")[0]
    write_palette(path, np.where(square(2), 1, 255))
    with pytest.raises(InputError, match="255 and 1"):
        make("folder")[0]
    write_palette(path, np.where(square(2), 1, 2))  # two objects, both meant
    assert make("folder")[0].truth.areas[1] == 24 * 32
    Image.fromarray(square(2)).save(path)  # one bit a pixel
    assert make("folder")[0].truth.areas[1] == 64


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", TREES)
def test_a_sample_that_cannot_be_read_keeps_what_it_is(name: str, tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    spec = {"name": name, "root": str(root), **TREES[name](root)}
    whole = {sample.query.id: sample for sample in build("dataset", spec)}
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"broken")
    model = revseg.ReVSeg(policy="oracle", tracker="oracle")
    results = revseg.evaluate(model, spec, tmp_path / "r.jsonl", progress=False)
    assert [row.query for row in results] == list(whole)
    for row in results:
        sample = whole[row.query or ""]
        assert row.crashed
        assert not row.loaded
        assert row.text == sample.query.text
        assert row.meta == json.loads(json.dumps(dict(sample.meta)))
    found = score(results, draws=0)
    assert found.overall["gIoU" if name == "reason_seg" else "J&F"] == 0
    assert found.missing == len(found.queries)
    groups = {"revos": 3, "long_rvos": 2, "ref_davis17": 4}
    assert len(found.groups) == groups.get(name, len(found.groups))
    assert score(results, missing="skip", draws=0).skipped == len(found.queries)
    revseg.diagnose(results.path)


def test_a_row_of_revos_that_cannot_be_read_counts_in_its_type(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    TREES["revos"](root)
    for path in (root / "JPEGImages/TAO/a1").iterdir():
        path.unlink()
    model = revseg.ReVSeg(policy="oracle", tracker="oracle")
    found = score(revseg.evaluate(model, f"revos:root={root}", tmp_path / "r.jsonl", progress=False))
    assert found.groups["referring"]["J&F"] == 0.5
    assert found.groups["reasoning"]["J&F"] == 1
    assert found.overall["J&F"] == 0.75


def test_a_row_of_mevis_that_cannot_be_read_counts_as_no_target_or_target(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    TREES["mevis"](root)
    masks = json.loads((root / "valid_u/mask_dict.json").read_text())
    write_json(root / "valid_u/mask_dict.json", {**masks, "8": masks["8"][:2]})  # of the second expression
    model = revseg.ReVSeg(policy="oracle", tracker="oracle")
    found = score(revseg.evaluate(model, f"mevis:root={root}", tmp_path / "r.jsonl", progress=False))
    assert (found.overall["T-acc"], found.overall["N-acc"]) == (0.5, 1)
    assert found.overall["J&F"] == pytest.approx(2 / 3)


def rows_of(folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]], dataset: str, **meta: Any) -> Results:
    """Rows by hand: prediction and truth of each."""
    from made_rows import made_row, write_results

    rows = [
        made_row(i, masks=MaskTrack.from_dense(p).to_dict(), truth=MaskTrack.from_dense(t).to_dict(), meta=meta)
        for i, (p, t) in enumerate(pairs)
    ]
    return Results.open(write_results(folder / "r.jsonl", rows, dataset))


def test_mevis_two_prints_its_final(tmp_path: Path):
    thing: np.ndarray = np.stack([square(0)] * 2)
    none = np.zeros((2, 24, 32), bool)
    pairs = [(thing, thing), (none, thing), (none, none), (none, none), (thing, none)]
    found = score(rows_of(tmp_path, pairs, "mevis"))
    jf, n, t = 3 / 5, 2 / 3, 1 / 2
    assert [found.overall[k] for k in ("J&F", "N-acc", "T-acc")] == pytest.approx([jf, n, t])
    assert found.overall["Final"] == pytest.approx((jf + n + t) / 3)
    assert found.overall["J&F (targets)"] == pytest.approx(1 / 2)
    assert found.overall["Final (targets)"] == pytest.approx((1 / 2 + n + t) / 3)
    assert "Final (targets)" in found.text()
    same = score(rows_of(tmp_path, [(thing, thing), (none, none)], "mevis")).overall
    assert same["Final"] == 1
    assert "Final (targets)" not in same  # nothing to tell apart
    assert "Final" not in score(rows_of(tmp_path, pairs[:2], "mevis")).overall  # version 1
    assert "Final" not in score(rows_of(tmp_path, pairs, "nothing")).overall


def test_a_of_revos_says_how_it_is_made(tmp_path: Path):
    thing = np.stack([square(0)] * 2)
    objects = np.stack([thing, np.stack([square(0, 2)] * 2)])  # they overlap
    results = rows_of(
        tmp_path, [(np.asarray(objects.any(0)), objects)], "revos", type_id=0, foreground_areas=[100, 100]
    )
    plain = score(results)
    assert plain.overall["A"] == 1
    assert "R: paper, A: paper" in plain.about
    legacy = score(results, robustness="legacy_01")
    assert legacy.overall["A"] < 1  # two objects on a pixel are 2, and 2 is not 1
    assert "R: legacy_01, A: legacy_01" in legacy.about
    apart = score(results, robustness="legacy_01", accuracy="paper")
    assert (apart.overall["A"], apart.overall["R"]) == (1, legacy.overall["R"])
    assert "R: legacy_01, A: paper" in apart.about
    assert "R as the official script has it" in " ".join(apart.notes)
    with pytest.raises(InputError, match="expected accuracy"):
        check_modes("paper", "exact")
    told = CliRunner().invoke(app, ["score", str(tmp_path / "r.jsonl"), "--accuracy", "legacy_255"])
    assert told.exit_code == 0
    assert "R: paper, A: legacy_255" in told.output


def test_reason_seg_by_hand(tmp_path: Path):
    thing, other, none = square(0)[None], square(4)[None], np.zeros((1, 24, 32), bool)  # 64 pixels each, apart
    void = MaskTrack.from_dense(other).to_dict()
    found = score(rows_of(tmp_path, [(thing | other, thing), (other, none), (none, thing)], "reason_seg", void=void))
    assert found.overall["gIoU"] == pytest.approx((64 / (64 + 1e-5) + 1 + 0) / 3, rel=0, abs=1e-12)
    assert found.overall["cIoU"] == pytest.approx(64 / (128 + 1e-10), rel=0, abs=1e-12)
    counted = score(rows_of(tmp_path, [(thing | other, thing), (other, none), (none, thing)], "reason_seg"))
    assert counted.overall["cIoU"] == pytest.approx(64 / (256 + 1e-10), rel=0, abs=1e-12)
    wrong = MaskTrack.from_dense(np.zeros((1, 24, 31), bool)).to_dict()
    with pytest.raises(InputError, match=r"meta\['void'\]"):
        score(rows_of(tmp_path, [(thing, thing)], "reason_seg", void=wrong))


def test_reason_seg_from_evaluate(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    TREES["reason_seg"](root)
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box")  # the box of "a" covers the pixels to be ignored
    found = score(revseg.evaluate(model, f"reason_seg:root={root}", tmp_path / "r.jsonl", progress=False))
    area = 19 * 11 - 4
    assert found.overall["gIoU"] == pytest.approx((area / (area + 1e-5) + 9 / (9 + 1e-5)) / 2, rel=0, abs=1e-12)
    assert set(found.groups) == {"long", "short"}
