"""Predictions to and from the files of other projects: round trips keep every score, and each layout by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import official_scorers as official
import pytest
from benchmark_trees import FRAMES, SIZE, TREES, code, square, write_binary, write_palette
from PIL import Image
from test_official_rules import rle_tree
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.errors import InputError, OutputError, SpecError
from revseg.evaluation import FORMATS, Results, export_predictions, import_predictions, score
from revseg.masks import MaskTrack

SETS = [name for name in TREES if name not in ("folder", "reason_seg")]


@dataclass(frozen=True)
class World:
    """A benchmark's tree and what one method answered."""

    root: Path
    spec: dict[str, Any]
    results: Results

    def back(self, format: str) -> Results:
        """The answers written in a format and read again."""
        place = self.root / f"there{FORMATS[format].suffix}"
        export_predictions(self.results, format, place)
        return import_predictions(place, format, self.spec, self.root / "back.jsonl")


def answered(data: Any, seed: int = 0) -> dict[str, np.ndarray | None]:
    """Squares that are off by a pixel or empty, on all frames; one query has no prediction."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray | None] = {}
    for number, sample in enumerate(data):
        masks = np.zeros((len(sample.video), *sample.video.size), bool)
        for frame in range(len(masks)):
            masks[frame, 4 : 4 + rng.integers(9), 2 * frame : 2 * frame + rng.integers(9)] = True
        found[sample.query.id] = None if number == 1 else masks
    return found


@pytest.fixture
def world(tmp_path: Path) -> Callable[[str], World]:
    def made(name: str) -> World:
        root = tmp_path / "root"
        root.mkdir()
        spec = {"name": name, "root": str(root), **TREES[name](root)}
        data = revseg.build("dataset", spec)
        return World(tmp_path, spec, official.written(data, answered(data), tmp_path / "r.jsonl", name))

    return made


def masks_of(results: Results) -> list[Any]:
    """Per row the frames and pixels of the union."""
    tracks = [row.masks for row in results]
    return [None if t is None else (t.frame_ids.tolist(), t.union().dense().tolist()) for t in tracks]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "davis"])
@pytest.mark.parametrize("name", SETS)
def test_what_is_written_is_read_back(format: str, name: str, world: Callable[[str], World]):
    there = world(name)
    back = there.back(format)
    assert [row.query for row in back] == [row.query for row in there.results]
    assert masks_of(back) == masks_of(there.results)
    assert [row.meta for row in back] == [row.meta for row in there.results]
    if any(row.truth for row in back):
        scores = [score(found, draws=0) for found in (there.results, back)]
        assert scores[0].overall == scores[1].overall
        assert scores[0].groups == scores[1].groups
        assert scores[0].missing == scores[1].missing


def test_davis_keeps_both_figures_of_protocol_a(world: Callable[[str], World]):
    there = world("ref_davis17")
    back = there.back("davis")
    for protocol in ("ref_davis17", "ref_davis17_strict"):
        before, after = (score(found, protocol, draws=0) for found in (there.results, back))
        assert 0 < before.overall["J&F"] < 1
        assert after.overall == before.overall
    assert {p.name for p in (there.root / "there").iterdir()} - {".revseg"} == {f"anno_{i}" for i in range(4)}
    with Image.open(there.root / "there/anno_0/boat/00001.png") as picture:
        assert picture.mode == "P"
        assert set(np.unique(np.array(picture)).tolist()) <= {0, 1}


def test_several_objects_stay_apart_where_the_format_can(tmp_path: Path):
    spec = {"name": "mevis", "root": str(tmp_path), **TREES["mevis"](tmp_path)}
    model = revseg.ReVSeg(policy="oracle", tracker="oracle")
    results = revseg.evaluate(model, spec, tmp_path / "r.jsonl", progress=False)
    rows = {row.query: row.masks for row in results}
    assert rows["0ab4/1"] is not None
    objects = MaskTrack.from_dense(np.stack([[square(i, obj) for i in range(4)] for obj in (1, 2)]))
    data = [{**row.data, "masks": objects.to_dict()} if row.query == "0ab4/1" else row.data for row in results]
    lines = [json.dumps(line) for line in (results.header, *data)]
    (tmp_path / "two.jsonl").write_text("\n".join(lines) + "\n")
    for format, kept in (("palette", 2), ("coco_video", 2), ("png", 1), ("results_json", 1)):
        place = tmp_path / f"{format}{FORMATS[format].suffix}"
        export_predictions(tmp_path / "two.jsonl", format, place)
        back = import_predictions(place, format, spec, tmp_path / f"{format}.jsonl")
        masks = back.row(1).masks
        assert masks is not None
        assert masks.objects == kept
        np.testing.assert_array_equal(masks.union().dense(), objects.union().dense())
    both = import_predictions(tmp_path / "coco_video.json", "coco_video", spec, tmp_path / "again.jsonl").row(1).masks
    assert both is not None
    np.testing.assert_array_equal(both.dense(), objects.dense())  # overlaps included


# each layout by hand


def mevis(tmp_path: Path) -> dict[str, Any]:
    return {"name": "mevis", "root": str(tmp_path), **TREES["mevis"](tmp_path)}


def test_png_folders_by_hand(tmp_path: Path):
    """0/1 and palette files, below Annotations/; a frame that is not there stays missing."""
    spec, folder = mevis(tmp_path), tmp_path / "out" / "Annotations" / "0ab4"
    write_binary(folder / "0" / f"{FRAMES[0]}.png", square(0), 1)
    write_palette(folder / "0" / f"{FRAMES[2]}.png", square(2) * 3)
    back = import_predictions(tmp_path / "out", "png", spec, tmp_path / "r.jsonl")
    masks = back.row(0).masks
    assert masks is not None
    assert masks.frame_ids.tolist() == [0, 2]
    np.testing.assert_array_equal(masks.dense()[0], np.stack([square(0), square(2)]))
    assert [row.failure for row in back] == [None, "no_prediction", "no_prediction"]
    found = score(back, draws=0)
    assert found.missing == 2
    assert found.overall["J&F"] == pytest.approx(2 / 4 / 3)
    assert score(back, missing="skip", draws=0).overall["J&F"] == 1
    with pytest.raises(InputError, match="expected conversations, got masks alone"):
        revseg.diagnose(back.path)
    written = json.loads(export_predictions(back, "results_json", tmp_path / "o.json").read_text())
    assert written["0ab4"]["0"]["prediction_masks"] == [code(square(0)), None, code(square(2)), None]
    coco = json.loads(export_predictions(back, "coco_video", tmp_path / "c.json").read_text())["annotations"][0]
    assert coco["segmentations"] == [code(square(0)), None, code(square(2)), None]
    assert coco["areas"] == [64, None, 64, None]


def test_results_json_by_hand(tmp_path: Path):
    spec = mevis(tmp_path)
    entry = {"text_prediction": "It is [SEG].", "prediction_masks": [code(square(0)), None, code(square(2)), None]}
    (tmp_path / "results.json").write_text(json.dumps({"0ab4": {"0": entry}}))
    masks = import_predictions(tmp_path / "results.json", "results_json", spec, tmp_path / "r.jsonl").row(0).masks
    assert masks is not None
    np.testing.assert_array_equal(masks.dense()[0, :3], np.stack([square(0), square(0) & False, square(2)]))
    written = export_predictions(tmp_path / "r.jsonl", "results_json", tmp_path / "again.json")
    again = json.loads(written.read_text())
    assert list(again) == ["0ab4"]
    assert list(again["0ab4"]) == ["0"]
    assert again["0ab4"]["0"]["prediction_masks"][2] == entry["prediction_masks"][2]
    assert again["0ab4"]["0"]["frames"] == list(FRAMES)
    assert again["0ab4"]["0"]["exp"] == "moves right"


def test_coco_video_by_hand(tmp_path: Path):
    spec = mevis(tmp_path)
    videos = [{"id": 7, "file_names": [f"0ab4/{name}.jpg" for name in FRAMES]}]
    said = [
        {"video_id": 7, "exp_id": "0", "segmentations": [code(square(i, obj)), None, None, None]}
        for i, obj in ((0, 1), (0, 2))
    ]
    (tmp_path / "coco.json").write_text(json.dumps({"videos": videos, "annotations": said}))
    masks = import_predictions(tmp_path / "coco.json", "coco_video", spec, tmp_path / "r.jsonl").row(0).masks
    assert masks is not None
    np.testing.assert_array_equal(masks.dense()[:, 0], np.stack([square(0, 1), square(0, 2)]))
    content = json.loads(export_predictions(tmp_path / "r.jsonl", "coco_video", tmp_path / "again.json").read_text())
    assert content["videos"][0]["file_names"] == videos[0]["file_names"]
    assert [content["videos"][0][side] for side in ("height", "width", "length")] == [*SIZE, 4]
    first = content["annotations"][0]
    assert (first["areas"], first["bboxes"]) == ([64, None, None, None], [[0.0, 4.0, 8.0, 8.0], None, None, None])
    assert first["expression"] == "moves right"


def test_imported_predictions_score_as_the_official_scripts(tmp_path: Path):
    """A drawn tree, answers as PNG files as the official script reads them."""
    rng = np.random.default_rng(5)
    rle_tree(rng, tmp_path / "valid_u", "meta_expressions.json", types=False)
    data = revseg.build("dataset", f"mevis:root={tmp_path}")
    for sample in data:
        assert sample.truth is not None
        masks = sample.truth.union().dense()[0] ^ (rng.random((len(sample.video), *sample.video.size)) < 0.1)
        official.write_answer(tmp_path / "out" / sample.query.id, sample.meta["frames"], masks)
    expected = official.mevis(tmp_path / "valid_u", "meta_expressions.json", tmp_path / "out")
    back = import_predictions(tmp_path / "out", "png", f"mevis:root={tmp_path}", tmp_path / "r.jsonl")
    found = score(back, draws=0).overall
    assert [found["J"], found["F"]] == pytest.approx(list(np.mean(list(expected.values()), 0)), rel=0, abs=1e-12)


# mistakes


@pytest.mark.parametrize(
    ("format", "content", "words"),
    [
        ("results_json", [], "expected {video"),
        ("results_json", {"0ab4": {"0": {}}}, "0ab4, 0: expected the key"),
        ("results_json", {"0ab4": {"0": {"prediction_masks": [None]}}}, "each of the 4 frames"),
        ("results_json", {"other": {}}, "no prediction for any of the 3 queries.*'0ab4', expression '0'"),
        ("coco_video", {"videos": [], "annotations": [{}]}, "coco.*annotations"),
        ("coco_video", {"videos": []}, "annotations"),
    ],
)
def test_a_damaged_file_is_named(format: str, content: Any, words: str, tmp_path: Path):
    spec, place = mevis(tmp_path), tmp_path / "coco.json"
    place.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        import_predictions(place, format, spec, tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


def test_what_cannot_be_converted_is_one_sentence(world: Callable[[str], World], tmp_path: Path):
    there = world("long_rvos")
    with pytest.raises(SpecError, match="known: png, palette"):
        export_predictions(there.results, "gif", tmp_path / "o")
    with pytest.raises(InputError, match="expected a query of ref_davis17"):
        export_predictions(there.results, "davis", tmp_path / "o")
    with pytest.raises(InputError, match="expected a folder of PNG masks"):
        import_predictions(tmp_path / "nowhere", "png", there.spec, tmp_path / "b.jsonl")
    small = tmp_path / "small" / "v" / "0"
    write_binary(small / f"{FRAMES[0]}.png", np.ones((2, 3), bool))
    with pytest.raises(InputError, match="predicted at 3x2, but the video is 32x24"):
        import_predictions(tmp_path / "small", "png", there.spec, tmp_path / "b.jsonl")
    export_predictions(there.results, "png", tmp_path / "o")
    with pytest.raises(OutputError, match="exists"):
        export_predictions(there.results, "png", tmp_path / "o")
    lines = there.results.path.read_bytes().splitlines(keepends=True)
    there.results.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(InputError, match="not finished"):
        export_predictions(there.results.path, "png", tmp_path / "p")


def test_two_queries_of_one_name_are_refused(tmp_path: Path):
    row = {"failure": None, "video": {"id": "v", "size": [24, 32], "fps": 6.0, "frames": 1}}
    row |= {"query": {"id": "v/0", "text": "it"}, "masks": MaskTrack.from_dense(square(0)[None]).to_dict()}
    header = {"format": "revseg-results", "version": 2, "samples": 2}
    lines = [header, {"index": 0, **row}, {"index": 1, **row}]
    (tmp_path / "r.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(InputError, match="ids have to differ"):
        export_predictions(tmp_path / "r.jsonl", "results_json", tmp_path / "o.json")


@pytest.mark.parametrize("name", ["../out", "a/../../b"])
def test_no_name_leaves_the_folder(name: str, tmp_path: Path):
    row = {"index": 0, "failure": None, "video": {"id": "v", "size": [24, 32], "fps": 6.0, "frames": 1}}
    row |= {"query": {"id": f"v/{name}", "text": "it"}, "masks": MaskTrack.from_dense(square(0)[None]).to_dict()}
    header = {"format": "revseg-results", "version": 2, "samples": 1}
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(header)}\n{json.dumps(row)}\n")
    with pytest.raises(InputError, match="could land elsewhere"):
        export_predictions(tmp_path / "r.jsonl", "png", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_the_command(tmp_path: Path):
    (tmp_path / "root").mkdir()
    spec = mevis(tmp_path / "root")
    data = revseg.build("dataset", spec)
    official.written(data, answered(data), tmp_path / "r.jsonl", "mevis")

    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(app, ["convert", *map(str, arguments)])

    done = run(tmp_path / "r.jsonl", "--to", "png", "--out", tmp_path / "png")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'png'}: written\n")
    back = ["--dataset", "mevis", "--root", tmp_path / "root", "--out", tmp_path / "back.jsonl"]
    done = run(tmp_path / "png", "--from", "png", *back)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'back.jsonl'}: 3 queries, 1 without a prediction\n")
    assert run(tmp_path / "png", "--from", "png", *back).exit_code == 3  # it is there already
    assert run(tmp_path / "png", "--from", "png", *back, "--overwrite").exit_code == 0
    assert run(tmp_path / "png", "--from", "png", "--out", tmp_path / "b.jsonl").exit_code == 2
    assert run(tmp_path / "png", "--out", tmp_path / "b.jsonl").exit_code == 2
    scores = [CliRunner().invoke(app, ["score", str(tmp_path / f), "--json"]).stdout for f in ("r.jsonl", "back.jsonl")]
    assert json.loads(scores[0])["overall"] == json.loads(scores[1])["overall"]
