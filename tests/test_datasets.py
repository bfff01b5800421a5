"""The readers on small trees in the official layouts: what each sample holds, and every trap."""

import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_trees import (
    FRAMES,
    SIZE,
    TREES,
    code,
    mevis,
    square,
    uncompressed,
    write_binary,
    write_frames,
    write_json,
    write_parquet,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from revseg import build, names
from revseg.cli.app import app
from revseg.datasets.alignment import edge_contrast
from revseg.datasets.benchmark import as_list
from revseg.datasets.check import Problem, check
from revseg.datasets.coco_masks import MaskDict, rle_counts
from revseg.datasets.davis_text import read_expressions
from revseg.datasets.layout import inside
from revseg.errors import InputError, MissingExtraError, RevsegWarning, SpecError, VideoError
from revseg.masks import MaskTrack, encode
from revseg.masks.rle import decode_runs
from revseg.registry import registry
from revseg.types import Dataset, Query, Sample
from revseg.video import FolderReader, Video

Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Builds the tree of a benchmark and opens it; options go to the reader."""

    def opened(name: str, **options: Any) -> Any:
        if not any(tmp_path.iterdir()):
            options = {**TREES[name](tmp_path), **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return build("dataset", {"name": name, "root": str(tmp_path), **options})

    return opened


def dense(sample: Sample) -> np.ndarray:
    assert sample.truth is not None
    return sample.truth.dense()


def squares(obj: int = 1, frames: Any = range(4)) -> np.ndarray:
    return np.stack([square(i, obj) for i in frames])


def by_id(dataset: Any) -> dict[str, Sample]:
    return {sample.query.id: sample for sample in dataset}


# every reader


@pytest.mark.parametrize("name", TREES)
def test_every_reader_gives_samples(name: str, make: Make):
    dataset = make(name)
    assert name in names("dataset")
    assert isinstance(dataset, Dataset)
    samples = list(dataset)
    assert len(samples) == len(dataset) > 0
    assert len({sample.query.id for sample in samples}) == len(samples)
    json.dumps([dict(sample.meta) for sample in samples])  # rows of results hold it
    for sample in samples:
        assert sample.video.read([0]).shape == (1, *sample.video.size, 3)
        assert sample.meta["dataset"] == name
        if sample.truth is not None:
            assert sample.truth.size == sample.video.size
            assert sample.truth.frame_ids.max() < len(sample.video)
    assert dataset[-1].query == samples[-1].query
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0].query == samples[0].query


@pytest.mark.parametrize("name", TREES)
def test_opening_reads_no_frame_and_no_mask(name: str, make: Make, tmp_path: Path):
    make(name)
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png"), *tmp_path.rglob("mask_dict*.json")]:
        path.write_bytes(b"broken")
    dataset = make(name, **({"split": "train"} if name in ("ref_youtube_vos", "lv_vis") else {}))
    assert len(dataset) > 0
    with pytest.raises((VideoError, InputError)):
        dataset[0]


@pytest.mark.parametrize("name", TREES)
def test_a_missing_root_says_what_was_expected(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere.*expected"):
        build("dataset", {"name": name, "root": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("name", [name for name in TREES if name != "folder"])
def test_an_unknown_split_names_those_there_are(name: str, tmp_path: Path):
    with pytest.raises(InputError, match="expected split to be one of"):
        build("dataset", {"name": name, "root": str(tmp_path), "split": "vall"})


@pytest.mark.parametrize("video", ["../out", "/etc", "a/../../b", "a//b", "..", "", "C:\\x", "a\\..\\b"])
def test_no_id_leaves_the_root(video: str, make: Make, tmp_path: Path):
    make("mevis")
    listed = tmp_path / "valid_u" / "meta_expressions.json"
    entry = {"frames": list(FRAMES), "expressions": {"0": {"exp": "x", "obj_id": [0], "anno_id": [7]}}}
    write_json(listed, {"videos": {video: entry}})
    with pytest.raises(InputError, match="expected a name below"):
        make("mevis")
    with pytest.raises(InputError):
        inside(tmp_path, "ok", video)
    write_json(listed, {"videos": {"0ab4": {**entry, "expressions": {video or "..": {"exp": "x", "anno_id": []}}}}})
    with pytest.raises(InputError, match="expected a name below"):
        make("mevis")


def test_an_object_id_cannot_climb(make: Make, tmp_path: Path):
    make("long_rvos")
    path = tmp_path / "valid" / "meta_expressions.json"
    path.write_text(path.read_text().replace('"obj_id": "1"', '"obj_id": "../../../x"'))
    with pytest.raises(InputError, match="below"):
        make("long_rvos")[0]


def test_some_can_be_left_out(make: Make, tmp_path: Path):
    assert [s.meta["video"] for s in make("revos", exclude="TAO/*")] == ["UVO/all/-CiP"] * 3
    assert len(make("revos", exclude=["UVO/all/-CiP/1", "TAO/a1"])) == 2
    (tmp_path / "leave.txt").write_text("# known faults\nTAO/*\n")
    assert make("revos", exclude=str(tmp_path / "leave.txt")).excluded == 1
    assert len(build("dataset", f"revos:root={tmp_path},exclude=TAO/*")) == 3


def test_listed_frames_decide_and_a_missing_one_is_named(make: Make, tmp_path: Path):
    dataset = make("mevis")
    folder = tmp_path / "valid_u" / "JPEGImages" / "0ab4"
    write_frames(folder, ["00001", "zz"])  # in no list
    video = dataset[0].video
    assert isinstance(video.reader, FolderReader)
    assert [path.stem for path in video.reader.paths] == list(FRAMES)
    (folder / "00010.jpg").unlink()
    with pytest.raises(VideoError, match=r"0ab4: expected the 4 listed frames, 1 are missing.*00010"):
        dataset[0]


# Ref-YouTube-VOS


def test_ref_youtube_vos_train(make: Make):
    samples = by_id(make("ref_youtube_vos"))
    first, second = samples["v1/0"], samples["v1/1"]
    assert first.video.id == "v1"
    assert first.video.fps == 6
    expected = squares()
    expected[1:] &= ~squares(2)[1:]  # drawn over by object 2
    np.testing.assert_array_equal(dense(first)[0], expected)
    assert second.meta["obj_id"] == "2"
    assert second.meta["category"] == "thing"
    assert second.meta["object_frames"] == list(FRAMES[1:])
    assert dense(second)[0].any((1, 2)).tolist() == [False, True, True, True]


def test_ref_youtube_vos_valid_leaves_test_videos_out_and_counts(make: Make, tmp_path: Path):
    make("ref_youtube_vos")
    with pytest.warns(RevsegWarning, match="expected 202 validation videos.*got 1"):
        dataset = build("dataset", f"ref_youtube_vos:root={tmp_path}")
    assert [s.query.id for s in dataset] == ["v2/0", "v2/1", "v2/10", "v2/2"]  # the file's order
    assert dataset[0].truth is None
    shutil.rmtree(tmp_path / "meta_expressions" / "test")
    with pytest.warns(RevsegWarning, match=r"got 2; .*test.* is missing"):
        build("dataset", f"ref_youtube_vos:root={tmp_path}")


def test_ref_youtube_vos_with_202_videos_does_not_warn(make: Make, tmp_path: Path):
    make("ref_youtube_vos")
    entry = {"frames": list(FRAMES), "expressions": {"0": {"exp": "x"}}}
    videos = {f"v{i}": entry for i in range(202)}
    write_json(tmp_path / "meta_expressions/valid/meta_expressions.json", {"videos": {**videos, "t1": entry}})
    assert len(build("dataset", f"ref_youtube_vos:root={tmp_path}")) == 202


def test_ref_youtube_vos_masks_from_elsewhere(make: Make, tmp_path: Path):
    make("ref_youtube_vos")
    for asked in ("0", "1", "10", "2"):
        write_binary(tmp_path / "mine" / "v2" / asked / "00005.png", square(1))
    sample = make("ref_youtube_vos", split="valid", masks=str(tmp_path / "mine"))[0]
    assert sample.truth is not None
    assert sample.truth.frame_ids.tolist() == [1]
    np.testing.assert_array_equal(dense(sample)[0], squares(frames=[1]))


def test_a_coloured_palette_file_is_refused(make: Make, tmp_path: Path):
    dataset = make("ref_youtube_vos")
    path = tmp_path / "train" / "Annotations" / "v1" / "00005.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(InputError, match=r"00005\.png: expected a palette or grey PNG"):
        dataset[0]


# MeViS


def test_mevis(make: Make):
    samples = by_id(make("mevis"))
    one, both, none = (samples[f"0ab4/{i}"] for i in range(3))
    assert dense(one).any((0, 2, 3)).tolist() == [True, False, True, True]  # null
    assert both.meta["anno_id"] == ["7", "8"]
    np.testing.assert_array_equal(dense(both)[1], squares(2))  # uncompressed codes
    assert both.truth is not None
    np.testing.assert_array_equal(both.truth.union().dense()[0, 0], square(0) | square(0, 2))  # they overlap
    assert none.meta["no_target"] is True
    assert dense(none).shape == (1, 4, *SIZE)
    assert not dense(none).any()
    assert one.meta["frames"] == list(FRAMES)


def test_mevis_valid_has_no_masks(make: Make):
    dataset = make("mevis", split="valid")
    assert all(sample.truth is None and sample.meta["no_target"] is None for sample in dataset)


def test_mevis_versions(make: Make, tmp_path: Path):
    mevis(tmp_path, "meta_expressions_v2.json")
    two = make("mevis")
    assert two.version == two[0].meta["version"] == 2
    assert two.expected_counts()["expressions"] == 907
    mevis(tmp_path)
    with pytest.raises(InputError, match="choose with version=1 or version=2"):
        make("mevis")
    assert make("mevis", version=1).expected_counts()["expressions"] == 793
    (tmp_path / "valid_u" / "meta_expressions_v2.json").unlink()
    assert make("mevis", version=2).version == 2
    with pytest.raises(InputError, match="version 1 or 2"):
        make("mevis", version=3)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"7": [None] * 3, "8": [None] * 4}, "7: expected one mask or null for each of the 4 frames, got 3"),
        ({"8": [None] * 4}, "expected masks under the id '7'"),
        ({"7": [{"size": [24, 32], "counts": "0"}] * 4}, "frame 0: expected runs of 768 pixels"),
        ({"7": [{"size": [24, 32]}] * 4}, 'expected {"size"'),
        ({"7": ["text"] * 4}, 'expected {"size"'),
        ({"7": [code(np.ones((2, 2), bool)), code(np.ones((2, 3), bool)), None, None]}, "masks of one size"),
    ],
)
def test_broken_masks_name_file_and_id(make: Make, tmp_path: Path, masks: dict[str, Any], words: str):
    dataset = make("mevis")
    write_json(tmp_path / "valid_u" / "mask_dict.json", masks)
    with pytest.raises(InputError) as caught:
        dataset[0]
    assert words in str(caught.value)
    assert "mask_dict.json" in str(caught.value)


# Ref-DAVIS17


def test_ref_davis17(make: Make):
    dataset = make("ref_davis17")
    assert [s.query.id for s in dataset] == [*(f"classic-car/{i}" for i in range(8)), *(f"boat/{i}" for i in range(4))]
    samples = by_id(dataset)
    assert [samples[f"classic-car/{i}"].query.text for i in range(4)] == ["a red car", "red, all along", "auto", "a"]
    assert samples["classic-car/4"].query.text == "the café's car"
    assert samples["classic-car/6"].query.text == "café car"  # Latin-1
    assert [samples[f"classic-car/{i}"].meta["annotator"] for i in range(8)] == [0, 1, 2, 3] * 2
    assert samples["classic-car/7"].meta["obj_id"] == "2"
    assert samples["classic-car/0"].meta["annotator_name"] == "a1-first"
    assert [samples[f"boat/{i}"].meta["anno_id"] for i in range(4)] == ["0", "1", "2", "3"]  # over sorted videos
    assert samples["classic-car/0"].meta["anno_id"] == "4"
    assert samples["boat/0"].video.fps == 24
    np.testing.assert_array_equal(dense(samples["boat/0"])[0][:, 1:, 1:], squares()[:, 1:, 1:])


def test_ref_davis17_counts_objects_on_the_first_frame_and_knows_void(make: Make):
    dataset = make("ref_davis17")
    assert dataset[4].meta["objects"] == 1  # object 2 comes later
    assert dataset.objects("classic-car").objects == 1
    void = dataset.void("boat").dense()[0]
    assert void.sum() == 4
    assert void[:, 0, 0].all()
    with pytest.raises(InputError, match="expected one of the valid videos"):
        dataset.objects("bear")


def test_ref_davis17_as_converted(make: Make, tmp_path: Path):
    said = {str(i): {"exp": f"e{i}", "obj_id": str(1 + i // 4)} for i in range(12)}
    write_json(
        tmp_path / "meta_expressions/valid/meta_expressions.json",
        {"videos": {"bear": {"frames": FRAMES, "expressions": said}}},
    )
    write_frames(tmp_path / "valid/JPEGImages/bear")
    for index, name in enumerate(FRAMES):
        write_binary(tmp_path / f"valid/Annotations/bear/{name}.png", square(index), 1)
    dataset = make("ref_davis17")
    numbers = {sample.meta["exp_id"]: sample.meta["anno_id"] for sample in dataset}
    assert numbers == {key: str(n) for n, key in enumerate(sorted(said))}  # 0, 1, 10, 11, 2, ...
    assert numbers["2"] == "4"


def test_a_bad_line_of_text_names_file_and_line(tmp_path: Path):
    (tmp_path / "a.txt").write_text('boat 1 "x"\nboat "y"\n')
    with pytest.raises(InputError, match=r"a\.txt, line 2: expected a line such as"):
        read_expressions(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b'\xef\xbb\xbfmotor-bike 1 "the \xc3\xa9"\r\ndog-scale 12 "x "y" z"')
    assert read_expressions(tmp_path / "b.txt") == {"motorbike": [("1", "the é")], "dogs-scale": [("12", 'x "y" z')]}


def test_annotators_have_to_agree(make: Make, tmp_path: Path):
    make("ref_davis17")
    (tmp_path / "davis_text_annotations/Davis17_annot2.txt").write_text('boat 1 "ship"\n')
    with pytest.raises(InputError, match=r"as many expressions of 'classic-car'.*annot2.txt: 0"):
        make("ref_davis17")


# ReVOS


def test_revos(make: Make):
    samples = by_id(make("revos"))
    referring, reasoning, none = (samples[f"UVO/all/-CiP/{i}"] for i in range(3))
    assert referring.video.id == "UVO/all/-CiP"
    assert [s.meta["type"] for s in (referring, reasoning, none)] == ["referring", "reasoning", "no target"]
    assert reasoning.truth is not None
    assert reasoning.truth.objects == 2
    union = np.stack([square(0), *(square(i) | square(i, 2) for i in range(1, 4))])
    np.testing.assert_array_equal(reasoning.truth.union().dense()[0], union)
    assert none.meta["no_target"]
    assert not dense(none).any()


def test_revos_type_2_is_empty_whatever_it_lists(make: Make, tmp_path: Path):
    make("revos")
    path = tmp_path / "meta_expressions_valid_.json"
    listed = json.loads(path.read_text())
    listed["videos"]["UVO/all/-CiP"]["expressions"]["2"]["anno_id"] = [0]
    write_json(path, listed)
    sample = make("revos", exclude="TAO/*")[2]
    assert sample.meta["no_target"]
    assert not dense(sample).any()
    faults = [problem.what for problem in check("revos:exclude=TAO/*", str(tmp_path)).problems]
    assert faults == ["type 2 (no target) has the masks ['0']; they are ignored"]


def test_revos_foreground(make: Make, tmp_path: Path):
    dataset = make("revos")
    foreground = dataset.foreground("UVO/all/-CiP")
    np.testing.assert_array_equal(foreground.dense()[0], squares() | squares(2))  # one frame has its codes in a list
    with pytest.raises(InputError, match="TAO/a1"):
        dataset.foreground("TAO/a1")
    (tmp_path / "mask_dict_foreground.json").unlink()
    assert make("revos").foreground("UVO/all/-CiP") is None


def test_revos_tao(make: Make):
    stored = by_id(make("revos"))["TAO/a1/0"]
    assert stored.truth is not None
    assert np.flatnonzero(stored.truth.visible).tolist() == [0, 1, 2]  # read as they are
    moved = by_id(make("revos", tao_stride=True))["TAO/a1/0"]
    assert moved.truth is not None
    assert moved.truth.frame_ids.tolist() == [0, 30, 60]
    for index, frame in enumerate((0, 30, 60)):
        np.testing.assert_array_equal(dense(moved)[0, index], square(frame, 1, (24, 160)))
    assert len(by_id(make("revos", tao_stride=True))["UVO/all/-CiP/0"].truth or ()) == 4


def test_edges_meet_outlines_where_masks_belong():
    frame = np.full((24, 32, 3), 40, np.uint8)
    frame[square(0)] = 220
    assert edge_contrast(frame, square(0)) > 3 > edge_contrast(frame, square(9))
    assert edge_contrast(frame, np.zeros((24, 32), bool)) == 1


# LV-VIS, ReasonVOS, Long-RVOS


def test_lv_vis(make: Make):
    sample = make("lv_vis")[0]
    assert sample.query.text == "baseball bat"
    assert sample.meta["category"] == "baseball_bat"
    np.testing.assert_array_equal(dense(sample)[0], squares())


def test_reason_vos(make: Make):
    samples = by_id(make("reason_vos"))
    one, two = samples["BURST_vid_1/0"], samples["BURST_vid_2/0"]
    assert one.truth is not None
    assert one.truth.frame_ids.tolist() == [0, 2]  # only these count
    np.testing.assert_array_equal(dense(two)[0], squares(2, [0, 2]))
    assert (one.meta["is_sent"], two.meta["is_sent"]) == (True, False)
    assert one.query.text == "Which one is red?"
    assert one.meta["exp_id"] == "0"
    assert one.meta["obj_id"] == "1"


def test_reason_vos_as_a_mapping_with_is_sent_on_the_video(make: Make, tmp_path: Path):
    make("reason_vos")
    said = {"4": {"obj_id": 1, "exp_text": "x"}}
    entry = {"source": "BURST", "is_sent": "False", "frames": FRAMES, "expressions": said}
    write_json(tmp_path / "meta_expressions.json", {"videos": {"vid": entry}})
    sample = make("reason_vos")[0]
    assert sample.query.id == "BURST_vid_1/4"
    assert sample.meta["is_sent"] is False


def test_long_rvos(make: Make, tmp_path: Path):
    sample = make("long_rvos")[0]
    assert dense(sample)[0].any((1, 2)).tolist() == [True, True, False, True]  # no file, no object
    assert sample.meta["type"] == "static"
    assert make("long_rvos")[1].meta["obj_id"] == "1"
    assert make("long_rvos", split="test")[0].truth is None
    shutil.rmtree(tmp_path / "valid/Annotations/v/1")
    with pytest.raises(InputError, match="expected a folder of PNG masks"):
        make("long_rvos")[0]


def test_masks_of_several_sizes_name_the_file(make: Make, tmp_path: Path):
    dataset = make("long_rvos")
    write_binary(tmp_path / "valid/Annotations/v/1/00005.png", np.ones((3, 5), bool))
    with pytest.raises(InputError, match=r"00005.png: expected a mask of 32x24 like the others, got 5x3"):
        dataset[0]


# GroundMoRe


def test_groundmore_sees_twenty_frames_and_an_action(make: Make):
    first, second, other = make("groundmore")
    assert [len(s.video) for s in (first, second, other)] == [20] * 3
    chosen = np.linspace(0, 23, 20, dtype=int)
    assert first.meta["source_frames"] == chosen.tolist()
    assert first.meta["frames"][1] == "img_00013"  # names are not indices
    assert first.meta["action_frames"] == [6, 11]  # the clip starts at 1:30
    inside_action = (chosen >= 6) & (chosen <= 11)
    assert first.truth.visible.tolist() == inside_action.tolist()  # masks of other frames are there, and do not count
    np.testing.assert_array_equal(dense(first)[0, 5], square(chosen[5] % 4) & ~square(chosen[5] % 4, 2))
    np.testing.assert_array_equal(dense(second)[0, -1], square(23 % 4, 2))
    assert first.video.fps == pytest.approx(6 * 19 / 23)
    assert other.truth.visible.tolist() == ((chosen < 12) & (chosen != 5)).tolist()  # seven digits; one is not there
    assert (first.query.text, first.meta["type"], first.meta["answer"]) == ("Who moves?", "Causal", "the square")


def test_groundmore_on_all_frames(make: Make):
    sample = make("groundmore", frames="all")[0]
    assert len(sample.video) == 24
    assert sample.video.fps == 6
    assert np.flatnonzero(sample.truth.visible).tolist() == [6, 7, 8, 9, 10, 11]


def test_groundmore_short_clips_show_frames_twice(make: Make, tmp_path: Path):
    make("groundmore")
    for path in sorted((tmp_path / "annotations/abc_film_0130_0134/images").iterdir())[8:]:
        path.unlink()
    sample = make("groundmore")[0]
    assert sample.meta["source_frames"] == np.linspace(0, 7, 20, dtype=int).tolist()
    assert np.flatnonzero(sample.truth.visible).tolist() == [
        i for i, f in enumerate(sample.meta["source_frames"]) if f > 5
    ]
    faults = [problem.what for problem in check("groundmore", str(tmp_path)).problems if problem.kind == "fault"]
    assert "the action's frames 6..11 are not all inside the clip's 0..7" in faults
    assert "16 masks of frames after the clip's 8, the first of frame 8" in faults


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("action_start", "soon", 'expected a time such as "1:05"'),
        ("action_end", None, 'expected a time such as "1:05"'),
        ("obj_id", 0, "object id in 1..255"),
        ("q_type", "Why", "one of Causal, Sequential"),
        ("question", 3, "question 0: expected"),
    ],
)
def test_groundmore_says_what_is_wrong(key: str, value: Any, words: str, make: Make, tmp_path: Path):
    make("groundmore")
    listed = json.loads((tmp_path / "test_v2.json").read_text())
    listed["videos"]["abc_film_0130_0134"]["questions"]["0"][key] = value
    write_json(tmp_path / "test_v2.json", listed)
    with pytest.raises(InputError, match=words):
        make("groundmore")


def test_groundmore_wants_the_span_in_the_id(make: Make, tmp_path: Path):
    make("groundmore")
    path = tmp_path / "test_v2.json"
    path.write_text(path.read_text().replace("film_0130_0134", "film_130_134"))
    with pytest.raises(InputError, match="ends in its span, such as 0130_0145"):
        make("groundmore")
    with pytest.raises(InputError, match='frames "all" or a number'):
        make("groundmore", frames="some")


# Ref-SAV


def test_ref_sav(make: Make, tmp_path: Path):
    long, short, two = make("ref_sav")
    assert [s.meta["type"] for s in (long, short, two)] == ["long", "short", "short"]
    assert dense(long)[0].any((1, 2)).tolist() == [True, False, True, True]
    np.testing.assert_array_equal(dense(short), dense(long))
    np.testing.assert_array_equal(dense(two)[1], squares(2))
    path = tmp_path / "valid/meta_expressions_valid.json"
    listed = path.read_text()
    path.write_text(listed.replace('"type_id": 0', '"type_id": 2'))
    with pytest.raises(InputError, match=r'sav_000001/0: expected "type_id" 0 \(long\) or 1'):
        make("ref_sav")
    path.write_text(listed.replace("anno_id", "annos"))
    with pytest.raises(InputError, match=r'sav_000001/0: expected "anno_id", got obj_id, annos'):
        make("ref_sav")


# FeVOS


def test_fevos(make: Make, tmp_path: Path):
    one, two = make("fevos")
    assert one.query.id == "va_0/0"
    assert one.meta["ans"] == "the red one"
    assert dense(one)[0].any((1, 2)).tolist() == [False, True, True, True]
    np.testing.assert_array_equal(dense(two)[1], squares(2))
    assert make("fevos", split="train")[0].query.id == "tr_0/0"
    report = check("fevos", str(tmp_path))
    assert report.counts == {"videos": (1, 189), "expressions": (2, 2817)}
    assert {problem.kind for problem in report.problems} == {"counts"}


# OK-VOS

needs_pyarrow = pytest.mark.skipif("ok_vos" not in TREES, reason="needs pyarrow")


@needs_pyarrow
def test_ok_vos(make: Make, tmp_path: Path):
    samples = list(make("ok_vos"))
    assert [s.meta["type"] for s in samples] == ["one-hop", "multi-hop", "relational", "in-video"]
    one, two = samples[:2]
    assert one.query.id == "v/1/q0"
    assert one.meta["frames"] == list(FRAMES)  # sorted
    assert one.meta["steps"] == ["search", "look"]
    assert one.truth is not None
    assert one.truth.frame_ids.tolist() == [0, 2]  # only these count
    np.testing.assert_array_equal(dense(two)[0], squares(2, [0, 2]))  # 128 is not the target
    assert check("ok_vos", str(tmp_path)).ok
    write_binary(tmp_path / "test/Annotations/v/1/1/00099.png", square(0))
    assert "1 masks of frames that are not listed, 00099" in check("ok_vos", str(tmp_path)).problems[0].what


@needs_pyarrow
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("video", "../out", "below"),
        ("images", ["../x"], "names of frames such as 00000"),
        ("images", [], 'expected "images"'),
        ("question", None, 'expected "question" as text'),
        ("oid", 1.5, 'expected "oid" as text or a number'),
        ("steps", b"x", "expected only text, numbers and lists"),
    ],
)
def test_ok_vos_says_what_is_wrong(column: str, value: Any, words: str, tmp_path: Path):
    row = {"id": 1, "question": "x", "video": "v", "images": ["0"], "oid": 1, "ability": "one-hop", "steps": 2}
    write_parquet(tmp_path / "test.parquet", [{**row, column: value}])
    with pytest.raises(InputError, match=words):
        build("dataset", f"ok_vos:root={tmp_path}")


@needs_pyarrow
def test_ok_vos_names_a_file_that_is_no_parquet(tmp_path: Path):
    for content in (b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1"):
        (tmp_path / "test.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"test\.parquet: expected a readable parquet file"):
            build("dataset", f"ok_vos:root={tmp_path}")


def test_ok_vos_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"test\.parquet needs pyarrow: pip install revseg\[parquet\]"):
        build("dataset", f"ok_vos:root={tmp_path}")
    report = check("ok_vos", str(tmp_path))
    assert [problem.kind for problem in report.problems] == ["unreadable"]


def test_reason_seg(make: Make, tmp_path: Path):
    dataset = make("reason_seg")
    samples = by_id(dataset)
    assert list(samples) == ["a/0", "b 1/0"]
    assert [sample.query.text for sample in samples.values()] == ["Which one is r\u00e9d?", "the caf\u00e9\u2019s sign"]
    assert [sample.meta["type"] for sample in samples.values()] == ["long", "short"]
    assert [sample.meta["is_sentence"] for sample in samples.values()] == [True, False]
    assert [len(sample.video) for sample in samples.values()] == [1, 1]
    target, ignored = np.zeros((2, 1, 1, *SIZE), bool)
    target[..., 2:21, 10:21] = True  # corners are inside
    ignored[..., 4:6, 12:14] = True  # the smaller one lies on top
    np.testing.assert_array_equal(dense(samples["a/0"]), target & ~ignored)
    np.testing.assert_array_equal(dataset.void("a").dense(), ignored)
    target, ignored = np.zeros((2, 1, 1, *SIZE), bool)
    target[..., 3:6, 2:5] = True  # listed first, painted last
    ignored[..., 1:8, 0:7] = True  # coordinates are cut to whole numbers
    np.testing.assert_array_equal(dense(samples["b 1/0"]), target)
    np.testing.assert_array_equal(dataset.void("b 1").dense(), ignored & ~target)
    report = check("reason_seg", str(tmp_path))
    assert report.counts == {"videos": (2, 200), "expressions": (2, 200)}
    assert {problem.kind for problem in report.problems} == {"counts"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"shapes": [], "text": [], "is_sentence": True}, r"a\.json: text"),
        ({"shapes": [{"label": "target", "points": []}], "text": ["x"], "is_sentence": True}, r"shapes.*points"),
        ({"shapes": [{"label": "target", "points": [[1]]}], "text": ["x"], "is_sentence": True}, r"shapes.*points"),
        ({"shapes": [{"label": "target", "points": [[1, 1e9]]}], "text": ["x"], "is_sentence": True}, r"points"),
        ({"text": ["x"], "is_sentence": True}, r"shapes"),
    ],
)
def test_reason_seg_says_what_is_wrong(content: dict[str, Any], words: str, make: Make, tmp_path: Path):
    make("reason_seg")
    write_json(tmp_path / "val" / "a.json", content)
    with pytest.raises(InputError, match=words):
        make("reason_seg")


def test_reason_seg_wants_a_file_beside_each_picture(make: Make, tmp_path: Path):
    make("reason_seg")
    (tmp_path / "val" / "a.json").unlink()
    with pytest.raises(InputError, match=r"a\.json: expected the polygons"):
        make("reason_seg")
    for path in (tmp_path / "val").glob("*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match=r"val: expected pictures"):
        make("reason_seg")


def test_check_says_where_to_get_it(make: Make, tmp_path: Path):
    for name in ("reason_seg", "groundmore", "ref_sav", "fevos", "ok_vos"):
        report = check(name, str(tmp_path / "nowhere"))
        assert not report.ok
        assert report.notes[0].startswith("available from ")
        assert "https://" in report.notes[0]
        assert "licence" in report.notes[0]


# the plain format


def test_folder(make: Make):
    samples = by_id(make("folder"))
    two = squares(frames=[0, 2])
    for name in ("name", "number", "value"):
        truth = samples[name].truth
        assert truth is not None
        assert truth.frame_ids.tolist() == [0, 2]
    np.testing.assert_array_equal(dense(samples["name"])[0], two)
    np.testing.assert_array_equal(dense(samples["number"]), [two, squares(2, [0, 2])])
    np.testing.assert_array_equal(dense(samples["value"])[0], squares(2, [0, 2]))
    np.testing.assert_array_equal(dense(samples["track"])[0], squares())
    assert dense(samples["codes"])[0].any((1, 2)).tolist() == [True, False, True, False]
    assert dense(samples["several"]).shape == (2, 4, *SIZE)
    assert not dense(samples["absent"]).any()
    assert samples["none"].truth is None
    assert samples["none"].meta["kind"] == "mine"
    assert samples["value"].video.fps == 5
    assert samples["name"].video.id == "clips/a"
    assert [s.query.id for s in make("folder", split="test")] == ["none"]
    with pytest.raises(InputError, match="there are test, train"):
        make("folder", split="valid")


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"video": "clips/a"}, "sample 0: expected"),
        ({"video": "../a", "query": "x"}, "below"),
        ({"video": "clips/a", "query": "x", "mask": "m"}, "unknown key 'mask'"),
        ({"video": "clips/b", "query": "x"}, "clips/b"),
        ({"video": "clips/a", "query": "x", "masks": "nowhere"}, "nowhere"),
        ({"video": "clips/a", "query": "x", "masks": 3}, "expected a folder, a .json"),
        ({"video": "clips/a", "query": "x", "masks": [None]}, "each of the 4 frames, got 1"),
        ({"video": "clips/a", "query": "x", "masks": "palette", "object": 0}, "object id in 1..255"),
        ({"video": "clips/a", "query": "x", "masks": "odd"}, "9.png: expected the name of a frame"),
    ],
)
def test_folder_says_what_is_wrong(make: Make, tmp_path: Path, sample: dict[str, Any], words: str):
    make("folder")
    write_binary(tmp_path / "odd" / "9.png", square(0))
    write_json(tmp_path / "dataset.json", {"samples": [sample]})
    with pytest.raises((InputError, VideoError)) as caught:
        make("folder")[0]
    assert words in str(caught.value)


def test_folder_refuses_an_id_twice(make: Make, tmp_path: Path):
    make("folder")
    write_json(tmp_path / "dataset.json", {"samples": [{"id": "a", "video": "clips/a", "query": "x"}] * 2})
    with pytest.raises(InputError, match="got 'a' twice"):
        make("folder")


# codes


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(1, 8))
def test_runs_add_up(pixels: list[bool], height: int):
    mask = np.resize(np.array(pixels), (height, -(-len(pixels) // height)))
    runs = decode_runs([encode(mask)])[0].tolist()
    assert sum(runs) == mask.size
    assert sum(runs[1::2]) == mask.sum()
    assert rle_counts(uncompressed(mask), "here") == rle_counts(code(mask), "here") == (mask.shape, encode(mask))


@given(st.dictionaries(st.text(), st.lists(st.one_of(st.none(), st.text(), st.lists(st.text()))), max_size=6))
def test_entries_are_found_in_any_json(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]):
    path = tmp_path_factory.mktemp("masks") / "mask_dict.json"
    for indent, ascii_only in ((None, True), (2, False)):
        path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), "utf-8")
        held = MaskDict(path)
        assert {key: held.entry(key) for key in held.spans} == content


def test_a_cut_file_of_masks_is_named(tmp_path: Path):
    path = tmp_path / "mask_dict.json"
    path.write_text('{"0": [null, {"size"')
    with pytest.raises(InputError, match=r"mask_dict\.json.*ends too early"):
        MaskDict(path).entry("0")
    with pytest.raises(InputError, match="missing or empty"):
        MaskDict(tmp_path / "none.json").entry("0")


def test_one_id_or_a_list():
    assert as_list(None) == []
    assert as_list("12") == ["12"]
    assert as_list([1, 2]) == [1, 2]


# revseg data check


def kinds(report: Any) -> set[tuple[str, str]]:
    return {(problem.kind, problem.where) for problem in report.problems}


@pytest.mark.parametrize("name", ["lv_vis", "reason_vos", "long_rvos", "groundmore", "ref_sav"])
def test_check_finds_nothing_in_a_sound_tree(name: str, make: Make, tmp_path: Path):
    make(name)
    report = check(name, str(tmp_path))
    assert report.ok, report.text()
    assert "no problem found" in report.text()


def test_check_counts_against_the_official_numbers(make: Make, tmp_path: Path):
    make("mevis")
    report = check("mevis", str(tmp_path))
    assert report.counts == {"videos": (1, 50), "expressions": (3, 793)}
    assert {problem.what for problem in report.problems} == {
        "expected 50 videos, got 1",
        "expected 793 expressions, got 3",
    }


def test_check_passes_warnings_on(make: Make, tmp_path: Path):
    make("ref_youtube_vos")
    assert any(
        "202 validation videos once" in problem.what for problem in check("ref_youtube_vos", str(tmp_path)).problems
    )


def test_check_names_known_faults(make: Make, tmp_path: Path):
    make("revos")
    report = check("revos", str(tmp_path))
    assert kinds(report) == {("fault", "TAO/a1/0")}
    assert "30*i" in report.problems[0].what
    assert check("revos:exclude=TAO/*", str(tmp_path)).ok
    assert check("revos", str(tmp_path), tao_stride=True).ok


def test_check_sees_masks_that_fit_other_frames(make: Make, tmp_path: Path):
    make("revos")
    masks = json.loads((tmp_path / "mask_dict.json").read_text())
    masks["2"][50] = masks["2"][1]  # one more, so that they are not on the first frames alone
    write_json(tmp_path / "mask_dict.json", masks)
    report = check("revos", str(tmp_path))
    assert [problem.what[:30] for problem in report.problems] == ["the masks fit the frames 30*i "]


def test_check_names_objects_that_the_davis_scorer_misses(make: Make, tmp_path: Path):
    make("ref_davis17")
    report = check("ref_davis17", str(tmp_path))
    assert {f"classic-car/{i}" for i in range(4, 8)} == {w for kind, w in kinds(report) if kind == "fault"}


def test_check_goes_on_after_what_cannot_be_read(make: Make, tmp_path: Path):
    make("long_rvos")
    base = tmp_path / "valid"
    write_frames(base / "JPEGImages" / "w", FRAMES)
    Image.new("RGB", (9, 9)).save(base / "JPEGImages" / "w" / "00010.jpg")
    write_frames(base / "JPEGImages" / "w", ["zz"])
    said = {"0": {"exp": "small", "obj_id": "1", "type": "static"}, "1": {"exp": "x", "obj_id": "2", "type": "static"}}
    listed = json.loads((base / "meta_expressions.json").read_text())
    listed["videos"]["w"] = {"frames": FRAMES, "expressions": said}
    listed["videos"]["gone"] = {"frames": FRAMES, "expressions": {"0": {"exp": "x", "obj_id": "1"}}}
    write_json(base / "meta_expressions.json", listed)
    write_binary(base / "Annotations" / "w" / "1" / "00000.png", square(0), 1)  # 0/1 instead of 0/255
    report = check("long_rvos", str(tmp_path))
    found = {(p.kind, p.where, p.what.rpartition(": ")[2]) for p in report.problems}
    assert ("frames", "w", "expected 32x24 as the first frame, got 9x9") in found
    assert ("frames", "w", "1 pictures are not listed and not read") in found
    assert {(p.kind, p.where) for p in report.problems} == {
        ("frames", "w"),
        ("fault", "w/0"),  # not empty: the scorer counts anything but 0
        ("unreadable", "w/1"),
        ("unreadable", "gone/0"),
    }
    assert report.checked == 5
    assert check("long_rvos", str(tmp_path), limit=2).checked == 2


def test_check_knows_any_dataset_and_refuses_unknown_ones(make: Make, tmp_path: Path):
    make("folder")
    report = check("folder", str(tmp_path))
    assert kinds(report) == {("empty", "several")}
    with pytest.raises(SpecError, match="mevis"):
        check("mevi", str(tmp_path))


class Smallest:
    """A dataset with samples and nothing else; the second sample cannot be read."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        if index == 1:
            raise InputError("a damaged file")
        video = Video(f"video {index}", (4, 4), 1.0, 1, lambda indices: np.zeros((len(indices), 4, 4, 3), np.uint8))
        return Sample(video, Query(f"query {index}", "x"))


class Full(Smallest):
    """And everything that a dataset may have for `check`."""

    source = "https://example.org"
    excluded = 0

    def listed(self, index: int) -> tuple[str, Query, dict[str, Any]]:
        return "a", Query(f"listed {index}", "x"), {}

    def video_ids(self) -> list[str]:
        return ["a", "a", "b"]

    def expected_counts(self) -> dict[str, int]:
        return {"videos": 7, "expressions": 3}

    def faults(self, sample: Sample) -> list[str]:
        return ["blurred"] if sample.query.id == "query 2" else []


class Excluding(Full):
    excluded = 4


def test_check_needs_no_more_than_samples(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(registry("dataset")._parts, "smallest", Smallest)
    report = check("smallest", "here")
    assert report.counts == {"expressions": (3, None)}
    assert report.notes == ("2 samples have no masks",)
    assert report.problems == (Problem("unreadable", "sample 1", "a damaged file"),)


def test_check_asks_for_all_that_a_dataset_knows(monkeypatch: pytest.MonkeyPatch):
    for part in (Full, Excluding):
        monkeypatch.setitem(registry("dataset")._parts, part.__name__.lower(), part)
    report = check("full", "here")
    assert report.counts == {"videos": (2, 7), "expressions": (3, 3)}
    assert report.notes == ("available from https://example.org", "2 samples have no masks")
    problems = (Problem("unreadable", "listed 1", "a damaged file"), Problem("fault", "query 2", "blurred"))
    assert report.problems == (Problem("counts", "here", "expected 7 videos, got 2"), *problems)
    excluding = check("excluding", "here")
    assert excluding.problems == problems
    assert "4 expressions excluded, as asked" in excluding.notes


def test_the_command(make: Make, tmp_path: Path):
    make("lv_vis")
    run = CliRunner().invoke
    done = run(app, ["data", "check", "lv_vis", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "videos: 1" in done.stdout
    bad = run(app, ["data", "check", "lv_vis", str(tmp_path / "x"), "--json"])
    assert bad.exit_code == 3
    held = json.loads(bad.stdout)
    assert held["ok"] is False
    assert held["problems"][0]["kind"] == "unreadable"
    assert run(app, ["data", "check", "lvvis", str(tmp_path)]).exit_code == 2
    split = run(app, ["data", "check", "lv_vis", str(tmp_path), "--split", "valid"])
    assert split.exit_code == 3
    assert "expected split to be one of train" in " ".join(split.stdout.split())


def test_what_revseg_writes_can_be_read_back(tmp_path: Path):
    write_frames(tmp_path / "clip")
    track = MaskTrack.from_dense(np.stack([squares(), squares(2)]))
    write_json(tmp_path / "masks.json", track.to_dict())
    write_json(tmp_path / "dataset.json", [{"video": "clip", "query": "x", "masks": "masks.json"}])
    sample = build("dataset", f"folder:root={tmp_path}")[0]
    np.testing.assert_array_equal(dense(sample), track.dense())
