"""Several datasets as one: nothing lost, nothing doubled, ids apart, weights as said."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_trees import TREES
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import revseg
from revseg.cli.app import app
from revseg.datasets.check import check
from revseg.datasets.mixture import Mixture, _chosen
from revseg.errors import InputError, SpecError
from revseg.training.rollouts import draw

ONE, TWO = "shapes:size=5,frames=4,height=32,width=32", "shapes:size=3,seed=9,frames=4,height=32,width=32"


def test_it_holds_every_sample_once_with_ids_of_its_part():
    mixed = revseg.build("dataset", {"name": "mixture", "of": [ONE, TWO]})
    parts = [revseg.build("dataset", spec) for spec in (ONE, TWO)]
    assert len(mixed) == 8
    names = ["shapes"] * 5 + ["shapes.2"] * 3
    for got, want, name in zip(mixed, [*parts[0], *parts[1]], names, strict=True):
        assert got.truth is not None
        assert want.truth is not None
        assert (got.query.text, got.truth.counts) == (want.query.text, want.truth.counts)
        assert (got.video.id, got.query.id) == (f"{name}/{want.video.id}", f"{name}/{want.query.id}")
        assert got.meta == {**want.meta, "part": name}
        np.testing.assert_array_equal(got.video.read([0, 3]), want.video.read([0, 3]))
    assert len({sample.query.id for sample in mixed}) == 8
    assert mixed[-1].query.id == mixed[7].query.id
    with pytest.raises(IndexError):
        mixed[8]


def test_an_epoch_of_training_meets_each_sample_once_in_an_order_of_seed_and_epoch():
    mixed: Any = Mixture(of=[ONE, TWO])

    def epoch(number: int, seed: int) -> list[str]:
        return [s.query.id for step in range(4 * number, 4 * number + 4) for s in draw(mixed, 2, step, seed)]

    assert len(set(epoch(0, 1))) == len(set(epoch(1, 1))) == 8
    assert epoch(0, 1) == epoch(0, 1)
    assert epoch(0, 1) != epoch(1, 1)
    assert epoch(0, 1) != epoch(0, 2)


def test_weights_by_hand():
    mixed = Mixture(of=[ONE, TWO], weights=[2, 1 / 3])
    counts = Counter(sample.meta["part"] for sample in mixed)
    assert counts == {"shapes": 10, "shapes.2": 1}
    assert set(Counter(s.query.id for s in mixed if s.meta["part"] == "shapes").values()) == {2}
    assert [s.query.id for s in Mixture(of=[ONE, TWO], weights=[2, 1 / 3])] == [s.query.id for s in mixed]
    assert len(Mixture(of=[ONE, TWO], weights=[0, 1])) == 3


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 4)), min_size=1, max_size=4), st.integers(0, 5))
def test_each_sample_is_met_as_often_as_its_weight_says(parts: list[tuple[int, float]], seed: int):
    sizes, weights = [n for n, _ in parts], [w for _, w in parts]
    for (size, weight), chosen in zip(parts, _chosen(sizes, weights, seed), strict=True):
        times = np.bincount(chosen, minlength=size)
        assert len(chosen) == int(weight) * size + round(weight % 1 * size)
        assert not size or set(times.tolist()) <= {int(weight), int(weight) + 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"of": ONE}, "expected of of type Sequence"),
        ({"of": []}, "list of datasets"),
        ({"of": [ONE], "weights": [1, 2]}, "one weight per dataset"),
        ({"of": [ONE, TWO], "weights": [1, -1]}, "weights of 0 or more"),
        ({"of": [ONE, TWO], "weights": [1, float("nan")]}, "weights of 0 or more"),
        ({"of": ["shape"]}, "Did you mean 'shapes'"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str):
    with pytest.raises((InputError, SpecError), match=words):
        revseg.build("dataset", {"name": "mixture", **options})


def test_evaluation_of_a_mixture_is_recorded_and_goes_on(tmp_path):
    spec = {"name": "mixture", "of": [ONE, TWO]}
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=4)
    whole = revseg.evaluate(model, spec, tmp_path / "whole.jsonl")
    revseg.evaluate(model, spec, tmp_path / "cut.jsonl", limit=3)
    again = revseg.evaluate(model, spec, tmp_path / "cut.jsonl")
    assert [row.data["query"]["id"] for row in again] == [row.data["query"]["id"] for row in whole]
    assert revseg.evaluation.score(whole).to_dict() == revseg.evaluation.score(again).to_dict()


# the paper's five sets below one folder

FOLDERS = {
    "ref_youtube_vos": "Ref-YouTube-VOS",
    "mevis": "MeViS",
    "ref_davis17": "ref_davis",
    "revos": "ReVOS",
    "lv_vis": "lvvis",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, folder in FOLDERS.items():
        (tmp_path / folder).mkdir()
        TREES[name](tmp_path / folder)
    (tmp_path / "ref_davis/DAVIS/ImageSets/2017/train.txt").write_text("boat\nclassic-car\n")
    return tmp_path


def test_the_mixture_of_the_paper(root: Path):
    mixed = revseg.build("dataset", f"mixture:preset=paper,root={root}")
    assert isinstance(mixed, Mixture)
    assert mixed.counts == {"ref_youtube_vos": 2, "mevis": 3, "ref_davis17": 12, "revos": 4, "lv_vis": 1}
    assert len(mixed) == 22
    samples = list(mixed)
    assert Counter(sample.meta["part"] for sample in samples) == mixed.counts
    assert {sample.meta["split"] for sample in samples} == {"train"}
    assert all(sample.truth is not None for sample in samples)
    assert len({sample.query.id for sample in samples}) == 22
    assert "mevis: 3" in repr(mixed)
    lighter = revseg.build("dataset", f"mixture:preset=paper,root={root},weights=[0.5,0,1,1,2]")
    assert isinstance(lighter, Mixture)
    assert lighter.counts == {"ref_youtube_vos": 1, "mevis": 0, "ref_davis17": 12, "revos": 4, "lv_vis": 2}
    report = check("mixture:preset=paper", str(root))
    assert report.notes == tuple(f"{name}: {n} samples" for name, n in mixed.counts.items())


def test_version_two_of_mevis_beside_version_one_is_not_taken(root: Path):
    shutil.copy(root / "MeViS/train/meta_expressions.json", root / "MeViS/train/meta_expressions_v2.json")
    mixed = revseg.build("dataset", f"mixture:preset=paper,root={root}")
    assert {sample.meta["version"] for sample in mixed if sample.meta["part"] == "mevis"} == {1}


def test_everything_that_is_missing_is_named_at_once(root: Path):
    shutil.rmtree(root / "ReVOS")
    (root / "lvvis/train/meta_expressions.json").unlink()
    words = r"2 of 5 datasets missing: revos \(expected a folder ReVOS\); lv_vis \(.*meta_expressions\.json"
    with pytest.raises(InputError, match=words):
        Mixture(preset="paper", root=str(root))
    (root / "lv_vis").mkdir()
    with pytest.raises(InputError, match="one folder of lv_vis, found lv_vis and lvvis"):
        Mixture(preset="paper", root=str(root))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "papers", "root": "."}, "expected preset to be one of paper; got 'papers'"),
        ({"preset": "paper", "root": "nowhere"}, "nowhere: expected the folder"),
        ({"preset": "paper"}, "give it as root="),
        ({"preset": "paper", "of": [ONE]}, "either a list of datasets or a preset"),
        ({"of": [ONE], "root": "x"}, "root with a preset alone"),
        ({}, "list of datasets to mix"),
    ],
)
def test_mistakes_with_presets_are_one_sentence(options: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        revseg.build("dataset", {"name": "mixture", **options})


def test_the_command_needs_a_root_for_a_preset_alone(tmp_path: Path):
    for options, words in ((f"of=['{ONE.replace('size=5', 'size=1')}']", ""), ("preset=paper", "expected the folder")):
        out = tmp_path / f"{len(words)}.jsonl"
        arguments = ["evaluate", f"mixture:{options}", "--out", str(out), "--policy", "random", "--tracker", "fill_box"]
        done = CliRunner().invoke(app, arguments)
        assert (done.exit_code, words in done.output) == (3 if words else 0, True), done.output
