"""Ref-DAVIS17 from folders on disk to figures, against the official scripts' way on the same folders."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import official_davis
import pytest
from benchmark_trees import write_binary, write_json, write_palette
from conftest import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from revseg import build
from revseg.errors import InputError
from revseg.evaluation import Results, compare, score
from revseg.evaluation.results import to_line
from revseg.evaluation.rows import _for_scoring, _row  # pyright: ignore[reportPrivateUsage]
from revseg.evaluation.scores import Scores
from revseg.masks import MaskTrack

SIZE = (12, 18)
Answers = Mapping[tuple[str, str], np.ndarray | None]  # (video, expression) to bool[t h w]; None: no files


def write_tree(root: Path, labels: Mapping[str, np.ndarray], asked: Mapping[str, Iterable[int]]) -> Path:
    """Annotations uint8[t h w] of each video, and the objects that each annotator describes, as ReferFormer's script
    lists them: sorted as text. Gives the JSON's path."""
    videos = {}
    for video, values in labels.items():
        frames = [f"{i:05d}" for i in range(len(values))]
        for frame, label in zip(frames, values, strict=True):
            write_palette(root / "valid/Annotations" / video / f"{frame}.png", label)
            picture = root / "valid/JPEGImages" / video / f"{frame}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((*label.shape, 3), np.uint8)).save(picture)
        ids = sorted(str(number) for number in asked[video])
        said = {str(4 * i + k): {"exp": f"{id} by {k}", "obj_id": id} for i, id in enumerate(ids) for k in range(4)}
        videos[video] = {"frames": frames, "expressions": said}
    listed = root / "meta_expressions/valid/meta_expressions.json"
    write_json(listed, {"videos": videos})
    return listed


def ours(root: Path, answers: Answers, protocol: str = "ref_davis17", **options: Any) -> Scores:
    """Through the reader, rows as `evaluate` writes them, a results file and the scorer."""
    return score(written(root, answers), protocol, draws=0, **options)


def written(root: Path, answers: Answers, name: str = "r") -> Results:
    data = build("dataset", f"ref_davis17:root={root}")
    lines = [{"format": "revseg-results", "version": 2, "samples": len(data), "dataset": "ref_davis17"}]
    for index, sample in enumerate(data):
        sample = replace(sample, meta={**sample.meta, **_for_scoring(data, sample)})
        answer = answers[sample.meta["video"], sample.meta["exp_id"]]
        lines.append(_row(index, sample, masks=None if answer is None else MaskTrack.from_dense(answer)))
    path = root / f"{name}.jsonl"
    path.write_bytes(b"".join(to_line(line) for line in lines))
    return Results.open(path)


def official(root: Path, listed: Path, answers: Answers) -> dict[str, float]:
    for (video, expression), masks in answers.items():
        for number, mask in enumerate([] if masks is None else masks):
            write_binary(root / "single" / video / expression / f"{number:05d}.png", mask)
    official_davis.post_process(listed, root / "single", root / "processed")
    videos = list(json.loads(listed.read_text())["videos"])
    return official_davis.evaluate(root / "valid/Annotations", videos, root / "processed")


def rectangle(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    y, x = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
    mask[y[0] : y[1], x[0] : x[1]] = True
    return mask


def drawn_tree(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Two videos: ids with gaps, some objects on later frames only, more than ten of them at times, void; of the
    objects some are described, one of them perhaps twice, perhaps one that is on no frame."""
    labels, asked = {}, {}
    for video in ("bear", "camel"):
        t, most = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 5, 13]))
        ids = [n for n in range(1, most + 1) if rng.random() < 0.8] or [1]
        values = np.zeros((t, *SIZE), np.uint8)
        for number in ids:
            begins = 0 if rng.random() < 0.7 else int(rng.integers(t))
            for frame in range(begins, t):
                values[frame][rectangle(rng)] = number
                values[frame, number % SIZE[0], number % SIZE[1]] = number
        if rng.random() < 0.5:
            values[:, rectangle(rng)] = 255
        described = [n for n in ids if rng.random() < 0.7] or ids[:1]
        extra = rng.random()
        labels[video] = values
        asked[video] = described + ([described[0]] if extra < 0.15 else [most + 1] if extra < 0.3 else [])
    return labels, asked


def drawn_answers(
    rng: np.random.Generator, listed: Path, labels: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], np.ndarray | None]:
    """Random rectangles, the object asked for, another one, nothing, or everything."""
    found = {}
    for video, entry in json.loads(listed.read_text())["videos"].items():
        values = labels[video]
        for expression, fields in entry["expressions"].items():
            kind = rng.integers(6)
            wanted = int(fields["obj_id"]) if kind < 2 else int(rng.choice(values.ravel()))
            mask = values == wanted
            if kind == 3:
                mask = np.stack([rectangle(rng) for _ in values])
            elif kind >= 4:
                mask = np.full(values.shape, rng.random() < 0.2)
            found[video, expression] = mask
    return found


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=examples(60), deadline=None)
def test_protocol_a_is_the_official_figure_on_any_tree(tmp_path_factory: pytest.TempPathFactory, seed: int):
    rng, root = np.random.default_rng(seed), tmp_path_factory.mktemp("tree")
    labels, asked = drawn_tree(rng)
    listed = write_tree(root, labels, asked)
    answers = drawn_answers(rng, listed, labels)
    if not any(values[0][values[0] != 255].any() for values in labels.values()):
        return  # no object at all on any first frame: the mean of nothing
    expected = official(root, listed, answers)
    found = ours(root, answers).overall
    assert found["J&F"] == pytest.approx(expected["J&F"], abs=1e-12)
    assert found["J"] + found["F"] == pytest.approx(expected["J"] + expected["F"], abs=1e-12)
    asked = json.loads(listed.read_text())["videos"]
    each = [  # protocol B: every expression alone, void or not
        official_davis.measures(answer, labels[video] == int(asked[video]["expressions"][key]["obj_id"]))
        for (video, key), answer in answers.items()
        if answer is not None
    ]
    plain = score(Results.open(root / "r.jsonl"), "ref_davis17_b", draws=0).overall
    assert [plain["J"], plain["F"]] == pytest.approx(list(np.mean(each, 0)), abs=1e-12)


def blocks(*numbers: int, frames: int = 2) -> np.ndarray:
    """uint8[t h w]: each object a block of its own."""
    values = np.zeros((frames, *SIZE), np.uint8)
    for place, number in enumerate(numbers):
        y, x = divmod(place, 6)
        values[:, 4 * y : 4 * y + 3, 3 * x : 3 * x + 2] = number
    return values


def said(video: str, values: np.ndarray, ids: Iterable[int]) -> dict[tuple[str, str], np.ndarray | None]:
    """Every annotator's expressions answered with their own object."""
    ordered = sorted(str(number) for number in ids)
    return {(video, str(4 * i + k)): values == int(id) for i, id in enumerate(ordered) for k in range(4)}


def both(root: Path, values: np.ndarray, ids: list[int], answers: Answers | None = None) -> tuple[Scores, float]:
    listed = write_tree(root, {"bear": values}, {"bear": ids})
    answers = said("bear", values, ids) if answers is None else answers
    return ours(root, answers), official(root, listed, answers)["J&F"]


def test_objects_that_nobody_describes_count(tmp_path: Path):
    found, expected = both(tmp_path, blocks(1, 2, 3), [2])
    assert found.overall["J&F"] == pytest.approx(expected) == pytest.approx(1 / 3)
    assert sorted(q.query for q in found.queries if q.index < 0) == sorted(["object 1", "object 3"] * 4)
    assert len({q.index for q in found.queries}) == len(found.queries) == 12
    assert "8 objects without an expression" in " ".join(found.notes)
    assert ours(tmp_path, said("bear", blocks(1, 2, 3), [2]), "ref_davis17_strict").overall["J&F"] == 1.0


def test_an_answer_about_an_object_that_does_not_count_can_be_matched(tmp_path: Path):
    values = blocks(1, 2)
    values[0][values[0] == 2] = 0  # object 2 comes later
    answers = {key: values == 1 if int(key[1]) >= 4 else values == 9 for key in said("bear", values, [1, 2])}
    found, expected = both(tmp_path, values, [1, 2], answers)
    assert found.overall["J&F"] == expected == 1.0
    assert ours(tmp_path, answers, "ref_davis17_strict").overall["J&F"] < 1


def test_ids_from_ten_on_compete_as_text(tmp_path: Path):
    values = blocks(*range(1, 12))
    answers = said("bear", values, range(1, 12))
    order = sorted(str(n) for n in range(1, 12))  # 1, 10, 11, 2, ...
    for annotator in range(4):
        mine = values == 10
        answers["bear", str(4 * order.index("10") + annotator)] = mine | (values == 2)  # 10 takes 2's pixels
    found, expected = both(tmp_path, values, list(range(1, 12)), answers)
    assert found.overall["J&F"] == pytest.approx(expected, abs=1e-12)
    own = {q.query: q.values["J"] for q in ours(tmp_path, answers, "ref_davis17_strict").queries}
    assert own[f"bear/{4 * order.index('2')}"] == 0  # 10 was listed first


def test_gaps_in_the_numbers_count_as_empty_objects(tmp_path: Path):
    found, expected = both(tmp_path, blocks(1, 3), [1, 3])
    assert found.overall["J&F"] == expected == 1.0  # object 2 is nowhere, and nothing answers it


@pytest.mark.parametrize("many", [20, 21, 30])
def test_more_than_twenty_proposals_stop_both(many: int, tmp_path: Path):
    values = np.zeros((1, 12, 36), np.uint8)
    for number in range(1, many + 1):
        y, x = divmod(number - 1, 12)
        values[0, 4 * y : 4 * y + 2, 3 * x : 3 * x + 2] = number
    if many <= 20:
        found, expected = both(tmp_path, values, list(range(1, many + 1)))
        assert found.overall["J&F"] == expected == 1.0
        return
    listed = write_tree(tmp_path, {"bear": values}, {"bear": range(1, many + 1)})
    answers = said("bear", values, range(1, many + 1))
    with pytest.raises(official_davis.Stopped, match=f"{many} proposals"):
        official(tmp_path, listed, answers)
    with pytest.raises(InputError, match=f"{many} predicted objects.*at most 20"):
        ours(tmp_path, answers)
    assert ours(tmp_path, answers, "ref_davis17_strict").overall["J&F"] == 1.0


def test_a_missing_prediction_stops_the_official_one_and_is_zero_here(tmp_path: Path):
    values = blocks(1, 2)
    listed = write_tree(tmp_path, {"bear": values}, {"bear": [1, 2]})
    answers: dict[Any, Any] = {**said("bear", values, [1, 2]), ("bear", "4"): None}
    with pytest.raises(official_davis.Stopped):
        official(tmp_path, listed, answers)
    found = ours(tmp_path, answers)
    assert found.overall["J&F"] == pytest.approx((0.5 + 3) / 4)
    assert found.missing == 1
    assert ours(tmp_path, answers, missing="skip").overall["J&F"] == 1
    with pytest.raises(InputError, match="no prediction"):
        ours(tmp_path, answers, missing="error")


def test_a_missing_prediction_is_zero_against_an_empty_object_too(tmp_path: Path):
    values = blocks(1, 3)
    write_tree(tmp_path, {"bear": values}, {"bear": [1, 2, 3]})  # 2 is on no frame
    answers: dict[Any, Any] = {**said("bear", values, [1, 2, 3]), ("bear", "4"): None}
    assert ours(tmp_path, answers).overall["J&F"] == pytest.approx((2 / 3 + 3) / 4)


def test_frames_and_annotations_have_to_be_the_same(tmp_path: Path):
    values = blocks(1)
    listed = write_tree(tmp_path, {"bear": values}, {"bear": [1]})
    annotations = tmp_path / "valid/Annotations/bear"
    write_palette(annotations / "00002.png", values[0])
    with pytest.raises(official_davis.Stopped):
        official(tmp_path, listed, said("bear", values, [1]))
    with pytest.raises(InputError, match=r"annotation for each of the 2 frames; see 00002"):
        ours(tmp_path, said("bear", values, [1]))
    (annotations / "00002.png").unlink()
    (annotations / "00001.png").unlink()
    with pytest.raises(InputError, match="see 00001"):
        ours(tmp_path, said("bear", values, [1]))


def test_rows_in_any_order_and_rows_that_could_not_be_read(tmp_path: Path):
    values = blocks(1, 2, 3)
    write_tree(tmp_path, {"bear": values}, {"bear": [1, 2, 3]})
    held = written(tmp_path, said("bear", values, [1, 2, 3]))
    whole = score(held, draws=0)
    lines = held.path.read_bytes().splitlines(keepends=True)
    held.path.write_bytes(b"".join([lines[0], *lines[:0:-1]]))
    assert score(Results.open(held.path), draws=0).overall == whole.overall
    rows = [json.loads(line) for line in lines[1:]]
    lost = {"index": 0, "failure": "crash:VideoError", "masks": None, "truth": None, "meta": rows[0]["meta"]}
    lost["meta"] = {k: lost["meta"][k] for k in ("obj_id", "annotator")}
    lost["listed"] = {"video": "bear", "query": rows[0]["query"]}
    held.path.write_bytes(b"".join([lines[0], to_line(lost), *lines[2:]]))
    found = score(Results.open(held.path), draws=0)
    assert found.groups["annotator 0"]["J&F"] == pytest.approx(2 / 3)
    assert found.overall["J&F"] == pytest.approx((2 / 3 + 3) / 4)
    bare = [
        {
            **lost,
            "index": i,
            "listed": {"video": "bear", "query": row["query"]},
            "meta": {k: row["meta"][k] for k in ("obj_id", "annotator")},
        }
        for i, row in enumerate(rows)
    ]
    held.path.write_bytes(b"".join([lines[0], *map(to_line, bare)]))
    assert score(Results.open(held.path), draws=0).overall["J&F"] == 0


@pytest.mark.parametrize("name", ["void", "counted"])
def test_masks_of_another_size_are_refused(name: str, tmp_path: Path):
    values = blocks(1, 2)
    write_tree(tmp_path, {"bear": values}, {"bear": [1, 2]})
    held = written(tmp_path, said("bear", values, [1, 2]))
    lines = [json.loads(line) for line in held.path.read_bytes().splitlines()]
    other = MaskTrack.from_dense(np.ones((2, 3, 4), bool)).to_dict()
    lines[1]["meta"][name] = other
    held.path.write_bytes(b"".join(map(to_line, lines)))
    with pytest.raises(InputError, match=rf"'bear/0'.*meta\['{name}'\] of the truth's size \(12, 18\), got \(3, 4\)"):
        score(Results.open(held.path))
    lines[1] = {**lines[2], "index": 0, "masks": other, "truth": other, "meta": {**lines[2]["meta"], name: None}}
    held.path.write_bytes(b"".join(map(to_line, lines)))
    with pytest.raises(InputError, match="size"):
        score(Results.open(held.path))


def test_runs_are_compared_object_by_object(tmp_path: Path):
    values = blocks(1, 2, 3)
    write_tree(tmp_path, {"bear": values}, {"bear": [1, 2]})
    right = said("bear", values, [1, 2])
    nothing: Answers = {key: np.zeros(values.shape, bool) for key in right}
    found = compare(written(tmp_path, nothing, "a"), written(tmp_path, right, "b"))
    assert found.differences["J&F"].better == 8
    assert found.differences["J&F"].equal == 4  # those that nobody describes
