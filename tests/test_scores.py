"""Scores against the official definitions, written out plainly here as oracles, on generated masks and by hand."""

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg.errors import InputError, SpecError
from revseg.evaluation import Results, compare, score
from revseg.evaluation.results import to_line
from revseg.evaluation.scores.protocols import PROTOCOLS
from revseg.masks import MaskTrack

SIZE = (10, 14)


def row(
    index: int,
    pred: np.ndarray | MaskTrack | None,
    truth: np.ndarray | MaskTrack | None,
    video: str = "v",
    query: str = "",
    **meta: Any,
) -> dict[str, Any]:
    """A row by hand, from bool[t h w] (or [o t h w]) masks; `pred` None is a crash."""
    both = [m if m is None or isinstance(m, MaskTrack) else MaskTrack.from_dense(m) for m in (pred, truth)]
    return {
        "index": index,
        "failure": None if pred is not None else "crash:ValueError",
        "video": {"id": video, "size": list(SIZE), "fps": 1.0, "frames": 2},
        "query": {"id": query or f"q{index}", "text": "the thing"},
        "masks": None if both[0] is None else both[0].to_dict(),
        "truth": None if both[1] is None else both[1].to_dict(),
        "meta": meta,
    }


def results(folder: Path, rows: Sequence[dict[str, Any]], name: str = "r", **header: Any) -> Results:
    lines = [{"format": "revseg-results", "version": 2, "samples": len(rows), **header}, *rows]
    path = folder / f"{name}.jsonl"
    path.write_bytes(b"".join(to_line(line) for line in lines))
    return Results.open(path)


def drawn(seed: int, t: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    """bool[t h w]: rectangles, on some frames none, on some all of it."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((t, *size), bool)
    for mask in masks:
        kind = rng.random()
        if kind > 0.2:
            y, x = np.sort(rng.integers(0, size[0] + 1, 2)), np.sort(rng.integers(0, size[1] + 1, 2))
            mask[y[0] : y[1], x[0] : x[1]] = True
        if kind > 0.95:
            mask[:] = True
    return masks


def oracle_j(p: np.ndarray, t: np.ndarray) -> float:
    union = (p | t).sum()
    return 1.0 if union == 0 else (p & t).sum() / union


def oracle_f(p: np.ndarray, t: np.ndarray) -> float:
    """The contour measure, each boundary pixel against all of the other mask's."""

    def boundary(m: np.ndarray) -> np.ndarray:
        h, w = m.shape
        found = []
        for y, x in itertools.product(range(h), range(w)):
            near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(b < h and c < w and m[b, c] != m[y, x] for b, c in near):
                found.append((y, x))
        return np.array(found).reshape(-1, 2)

    one, other = boundary(p), boundary(t)
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    near = ((one[:, None] - other[None]) ** 2).sum(-1) <= np.ceil(0.008 * np.hypot(*p.shape)) ** 2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def oracle(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    return (
        float(np.mean([oracle_j(a, b) for a, b in zip(p, t, strict=True)])),
        float(np.mean([oracle_f(a, b) for a, b in zip(p, t, strict=True)])),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


FULL, NONE = np.ones((2, *SIZE), bool), np.zeros((2, *SIZE), bool)
LEFT, RIGHT = NONE.copy(), NONE.copy()
LEFT[:, 2:8, 2:6] = True
RIGHT[:, 2:8, 10:14] = True


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_generic_is_the_mean_over_expressions_of_the_mean_over_frames(folder: Path, seeds: list[int]):
    masks = [(drawn(seed), drawn(seed + 1)) for seed in seeds]
    found = score(results(folder, [row(i, p, t) for i, (p, t) in enumerate(masks)]), draws=0)
    j, f = np.mean([oracle(p, t) for p, t in masks], axis=0)
    assert found.overall["J"] == pytest.approx(j)
    assert found.overall["F"] == pytest.approx(f)
    assert found.overall["J&F"] == pytest.approx((j + f) / 2)


def test_what_a_missing_prediction_is_worth(folder: Path):
    held = results(folder, [row(0, LEFT, LEFT), row(1, None, NONE)])
    zero, skip = (score(held, missing=kind) for kind in ("zero", "skip"))
    assert zero.overall["J&F"] == 0.5  # also where the truth is empty: silence is no answer
    assert skip.overall["J&F"] == 1.0
    assert (zero.missing, zero.skipped, skip.skipped) == (1, 0, 1)
    assert "missing=zero" in zero.text()
    assert zero.to_dict()["missing"] == {"counts_as": "zero", "queries": 1, "skipped": 0}
    with pytest.raises(InputError, match=r"'q1'.*no prediction"):
        score(held, missing="error")


def test_a_missing_frame_counts_likewise(folder: Path):
    held = results(folder, [row(0, MaskTrack.from_dense(LEFT[:1], [1]), MaskTrack.from_dense(LEFT, [0, 1]))])
    assert score(held).overall["J"] == 0.5
    assert score(held, missing="skip").overall["J"] == 1.0
    with pytest.raises(InputError, match=r"frames \[0\]"):
        score(held, missing="error")


def test_a_sample_that_could_not_be_loaded_counts_too(folder: Path):
    lost = {"index": 1, "failure": "crash:VideoError", "masks": None, "truth": None, "meta": {}}
    assert score(results(folder, [row(0, LEFT, LEFT), lost])).overall["J&F"] == 0.5


def test_an_unfinished_file_is_not_scored_unasked(folder: Path):
    held = results(folder, [row(0, LEFT, LEFT)], samples=2)
    with pytest.raises(InputError, match="1 of 2 rows"):
        score(held)
    assert "unfinished: 1 of 2" in score(held, missing="skip").notes[0]


def test_only_annotated_frames_count(folder: Path):
    truth = MaskTrack.from_dense(LEFT[:1], [3])
    pred = MaskTrack.from_dense(np.concatenate([FULL, NONE[:1], LEFT[:1]]))
    assert score(results(folder, [row(0, pred, truth)]), "reason_vos").overall["J&F"] == 1.0


def test_sizes_have_to_agree_and_truth_has_to_be_there(folder: Path):
    with pytest.raises(InputError, match=r"'q0'.*6x4.*14x10"):
        score(results(folder, [row(0, np.ones((2, 4, 6), bool), LEFT)]))
    with pytest.raises(InputError, match="no truth for any"):
        score(results(folder, [row(0, LEFT, None)]))
    found = score(results(folder, [row(0, LEFT, None), row(1, LEFT, LEFT)]))
    assert found.overall["J&F"] == 1
    assert found.notes == ("queries without truth, in no figure: 1",)


def test_absence_is_judged_apart(folder: Path):
    held = [row(0, NONE, NONE), row(1, LEFT, NONE), row(2, LEFT, NONE), row(3, LEFT, RIGHT), row(4, NONE, RIGHT)]
    found = score(results(folder, [*held, row(5, None, NONE), row(6, None, LEFT)]), "mevis")
    assert found.overall["N-acc"] == 1 / 4
    assert found.overall["T-acc"] == 1 / 3


def test_groups_and_tables(folder: Path):
    rows = [row(0, LEFT, LEFT, type="static"), row(1, NONE, LEFT, type="dynamic"), row(2, LEFT, LEFT, type="static")]
    found = score(results(folder, rows), "long_rvos")
    assert found.groups["static"]["J"] == 1
    assert found.groups["dynamic"]["J"] == 0
    assert found.overall["J"] == pytest.approx(2 / 3)
    table = list(csv.DictReader(io.StringIO(found.group_csv())))
    assert [line["group"] for line in table] == ["dynamic", "static", "overall"]
    assert float(table[2]["vIoU"]) == pytest.approx(2 / 3)
    lines = list(csv.DictReader(io.StringIO(found.query_csv())))
    assert [float(line["J"]) for line in lines] == [1, 0, 1]


def test_a_query_is_no_formula_in_a_spreadsheet(folder: Path):
    table = score(results(folder, [row(0, LEFT, LEFT, query="=HYPERLINK(1)")])).query_csv()
    assert next(csv.DictReader(io.StringIO(table)))["query"] == "'=HYPERLINK(1)"


def test_long_rvos_temporal_figures_by_hand(folder: Path):
    # Frames: both (J = 1/2), truth only, prediction only, neither.
    truth = np.stack([LEFT[0], LEFT[0], NONE[0], NONE[0]])
    pred = np.stack([LEFT[0].copy(), NONE[0], RIGHT[0], NONE[0]])
    pred[0, 2:5] = False
    found = score(results(folder, [row(0, pred, truth)]), "long_rvos").overall
    assert found["tIoU"] == pytest.approx(1 / 3)
    assert found["vIoU"] == pytest.approx(0.5 / 3)
    nothing = score(results(folder, [row(0, NONE, NONE)]), "long_rvos").overall
    assert nothing["tIoU"] == nothing["vIoU"] == 1


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_image_iou_against_its_definition(folder: Path, seeds: list[int]):
    masks = [(drawn(seed, 1), drawn(seed + 1, 1)) for seed in seeds]
    found = score(results(folder, [row(i, p, t) for i, (p, t) in enumerate(masks)]), "image", draws=0).overall
    assert found["gIoU"] == pytest.approx(np.mean([oracle_j(p[0], t[0]) for p, t in masks]))
    union = sum((p | t).sum() for p, t in masks)
    assert found["cIoU"] == pytest.approx(sum((p & t).sum() for p, t in masks) / union if union else 1.0)


def official_revos(objects: np.ndarray, pred: np.ndarray, areas: Sequence[int], scale: int) -> tuple[float, float]:
    """A and R as the official script computes them: 8-bit sums of objects, predictions of 0 and `scale`."""
    right, kept = [], []
    for i in range(pred.shape[0]):
        gt = np.zeros(SIZE, np.uint8)
        for one in objects[:, i]:
            gt += one.astype(np.uint8)
        shown = pred[i].astype(np.uint8) * np.uint8(scale)
        right.append(np.mean(gt == shown))
        kept.append(max(1 - ((1 - gt) * shown).sum() / (areas[i] + 1e-6), 0.0))
    return float(np.mean(right)), float(np.mean(kept))


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=6), st.booleans())
def test_revos_against_the_official_definition(folder: Path, seeds: list[int], big: bool):
    kinds = ["referring", "reasoning", "no target"]
    rows, expected = [], {kind: [] for kind in kinds}
    scale = 255 if big else 1
    for i, seed in enumerate(seeds):
        objects = np.stack([drawn(seed), drawn(seed + 1)])  # may overlap
        pred, areas = drawn(seed + 2), [40 + seed % 100, 5]
        j, f = oracle(pred, np.asarray(objects.any(0)))
        a, r = official_revos(objects, pred, areas, scale)
        expected[kinds[i % 3]].append([round(np.float64(100 * v), 2) for v in (j, f, a, r)])
        rows.append(row(i, pred, objects, type_id=i % 3, foreground_areas=areas))
    found = score(results(folder, rows), "revos", robustness=f"legacy_{scale:02d}", draws=0)
    both = np.mean([np.mean(expected[kind], 0) for kind in kinds[:2]], 0)
    assert [100 * found.overall[n] for n in ("J", "F", "A", "R")] == pytest.approx(list(both))
    assert 100 * found.overall["J&F"] == pytest.approx(both[:2].mean())
    assert 100 * found.groups["no target"]["J"] == pytest.approx(np.mean([v[0] for v in expected["no target"]]))


def test_revos_robustness_of_the_paper_and_rounding_by_hand(folder: Path):
    third = LEFT.copy()
    third[:, 4:] = False  # J = 1/3
    rows = [row(0, third, LEFT, type="referring"), row(1, LEFT, LEFT, type="reasoning")]
    quarter = NONE.copy()
    quarter[:, 0, :6] = True  # 12 of the 96 true pixels
    negative = [row(2, quarter, NONE, type="no target"), row(3, NONE, NONE, type="no target")]
    found = score(results(folder, [*rows, *negative]), "revos")
    assert found.overall["R"] == 1 - 12 / 96
    assert found.overall["J"] == pytest.approx((0.3333 + 1) / 2, abs=1e-12)
    plain = score(results(folder, rows), "revos", rounding=False)
    assert plain.overall["J"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-12)
    assert "R" not in plain.overall  # no hallucinations, nothing to be robust against
    lost = score(results(folder, [*rows, row(2, None, NONE, type="no target")]), "revos")
    assert lost.overall["R"] == 0  # a crash is no robust answer


def test_the_0_255_trap_collapses_r_and_a(folder: Path):
    pred = LEFT.copy()
    pred[:, 2, 6] = True
    rows = [row(i, pred, LEFT, type_id=i, foreground_areas=[24, 24]) for i in (0, 1)]
    small, big = (score(results(folder, rows), "revos", robustness=f"legacy_{k}").overall for k in ("01", "255"))
    assert small["R"] == pytest.approx(1 - 1 / 24, abs=1e-4)
    assert big["R"] == 0
    assert big["A"] < small["A"]
    assert small["J"] == big["J"]


def test_revos_says_what_it_lacks(folder: Path):
    with pytest.raises(InputError, match="foreground_areas"):
        score(results(folder, [row(0, LEFT, LEFT, type_id=0)]), "revos", robustness="legacy_01")
    with pytest.raises(InputError, match="type"):
        score(results(folder, [row(0, LEFT, LEFT)]), "revos")


def davis(
    predictions: dict[tuple[int, int], Any], truths: dict[int, np.ndarray], void: Any = None
) -> list[dict[str, Any]]:
    """Rows of one video: predictions by (annotator, object)."""
    held = None if void is None else MaskTrack.from_dense(void).to_dict()
    return [
        row(i, pred, truths[number], query=f"{annotator}-{number}", annotator=annotator, obj_id=str(number), void=held)
        for i, ((annotator, number), pred) in enumerate(predictions.items())
    ]


def test_protocol_a_is_blind_to_identity_and_the_strict_one_is_not(folder: Path):
    truths = {1: LEFT, 2: RIGHT}
    swapped = davis({(k, n): truths[3 - n] for k in range(4) for n in (1, 2)}, truths)
    held = results(folder, swapped)
    assert score(held, "ref_davis17").overall["J&F"] == 1.0  # a permuted answer scores in full, as officially
    assert score(held, "ref_davis17_strict").overall["J&F"] == 0.0
    assert score(held, "ref_davis17_b").overall["J&F"] == 0.0


def test_protocol_a_competition_void_and_annotators(folder: Path):
    truths = {1: LEFT, 2: RIGHT}
    both = LEFT | RIGHT
    # Annotator 0: object 1 takes both places first, so nothing is left for object 2. Annotator 1: perfect.
    rows = davis({(0, 1): both, (0, 2): RIGHT, (1, 1): LEFT, (1, 2): RIGHT}, truths)
    found = score(results(folder, rows), "ref_davis17_strict")
    assert found.groups["annotator 0"]["J"] == pytest.approx((0.5 + 0) / 2)
    assert found.groups["annotator 1"]["J"] == 1
    assert found.overall["J"] == pytest.approx((0.25 + 1) / 2)
    # The same with object 2's place void: object 1 is then perfect there.
    found = score(results(folder, davis({(0, 1): both}, {1: LEFT}, void=RIGHT)), "ref_davis17")
    assert found.overall["J&F"] == 1


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_protocol_a_against_its_definition(folder: Path, seed: int, objects: int):
    void = drawn(seed + 50) & drawn(seed + 51)
    labels = np.zeros((2, *SIZE), np.int64)
    for number in range(1, objects + 1):
        labels[drawn(seed + number)] = number
        labels[0, 0, number] = number  # every object is on the first frame
    labels[void] = 255
    truths = {n: labels == n for n in range(1, objects + 1)}
    expected, rows = [], []
    for annotator in range(4):
        preds = [drawn(seed + 100 + 10 * annotator + n) for n in range(1, objects + 1)]
        rows += [(annotator, n, preds[n - 1]) for n in range(1, objects + 1)]
        background = np.full((1, 2, *SIZE), 0.1)
        answer = np.concatenate([background, np.stack(preds).astype(float)]).argmax(0)  # ReferFormer's competition
        keep = labels != 255
        table = np.zeros((objects, objects, 2))
        for p, g in itertools.product(range(objects), repeat=2):
            table[p, g] = oracle((answer == p + 1) & keep, truths[g + 1] & keep)
        best = max(
            itertools.permutations(range(objects)),
            key=lambda order: sum(table[p, g].mean() for p, g in enumerate(order)),
        )
        expected.append(np.mean([table[p, g].mean() for p, g in enumerate(best)]))
    held = davis({(annotator, n): pred for annotator, n, pred in rows}, truths, void=void)
    first = [n for n in truths if truths[n][0].any()]
    if len(first) == objects:
        found = score(results(folder, held), "ref_davis17", draws=0).overall["J&F"]
        assert found == pytest.approx(np.mean(expected))


def test_protocol_a_leaves_out_objects_that_come_later_and_counts_crashes_as_nothing(folder: Path):
    late = RIGHT.copy()
    late[0] = False
    rows = davis({(0, 1): LEFT, (0, 2): NONE}, {1: LEFT, 2: late})
    assert score(results(folder, rows), "ref_davis17").overall["J&F"] == 1
    rows = davis({(0, 1): LEFT, (0, 2): None}, {1: LEFT, 2: RIGHT})
    assert score(results(folder, rows), "ref_davis17").overall["J&F"] == 0.5
    assert score(results(folder, rows), "ref_davis17", missing="skip").overall["J&F"] == 1
    with pytest.raises(InputError, match="obj_id"):
        score(results(folder, [row(0, LEFT, LEFT)]), "ref_davis17")


def test_the_protocol_is_that_of_the_dataset(folder: Path):
    rows = [row(0, LEFT, LEFT)]
    assert score(results(folder, rows, dataset="mevis:root=x")).protocol == "mevis"
    assert score(results(folder, rows, dataset={"name": "long_rvos"})).protocol == "long_rvos"
    assert score(results(folder, rows, dataset="shapes:size=2")).protocol == "generic"
    assert score(results(folder, rows, dataset={"object": "<list>"})).protocol == "generic"
    wrongs: list[dict[str, Any]] = [{"protocol": "nope"}, {"rounding": True}]
    for wrong in wrongs:
        with pytest.raises(SpecError):
            score(results(folder, rows), **wrong)
    assert all(protocol.about for protocol in PROTOCOLS.values())


def test_intervals_draw_videos_not_queries(folder: Path):
    # Within a video all queries agree: the interval is that of 8 videos, however many queries each has.
    def interval(queries: int) -> tuple[float, float]:
        rows = [
            row(v * queries + q, LEFT if v % 2 else NONE, LEFT, video=f"v{v}") for v in range(8) for q in range(queries)
        ]
        return score(results(folder, rows)).intervals["J"]

    assert interval(1) == interval(6)
    low, high = interval(1)
    assert low < 0.5 < high
    assert 0.4 < high - low < 0.8  # +- 1.96 * sqrt(0.25 / 8) is 0.69 wide
    assert score(results(folder, [row(0, LEFT, LEFT)])).intervals == {}


def test_compare_pairs_the_queries(folder: Path):
    a = results(folder, [row(i, LEFT if i % 2 else NONE, LEFT, video=f"v{i}") for i in range(8)], "a")
    better = [row(i, LEFT if i % 2 or i < 4 else NONE, LEFT, video=f"v{i}") for i in range(8)]
    b = results(folder, better[::-1], "b")
    found = compare(a, b)
    change = found.differences["J&F"]
    assert change.difference == pytest.approx(0.25)
    assert (change.better, change.equal, change.worse) == (2, 6, 0)
    assert change.low is not None
    assert change.low >= 0
    assert [c for _, c in found.changes][-2:] == [1, 1]
    assert compare(a, a).differences["J"].p == 1
    assert "+25.00" in found.text()
    with pytest.raises(InputError, match="different queries"):
        compare(a, results(folder, better[:4], "c"))
    with pytest.raises(InputError, match="mevis"):
        compare(a, results(folder, better, "d", dataset="mevis"))
