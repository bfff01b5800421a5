"""Several datasets as one: nothing lost, nothing doubled, ids apart, weights as said."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import revseg
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
