"""ablate(): nothing is done twice, figures are those of the single runs, differences are paired where they can be."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_qwen import save_tiny_qwen
from training_world import LIMIT, REWARDS, TWO, config

import revseg
from revseg import ReVSeg, Variant
from revseg.ablation import Table
from revseg.ablation import ablate as ablation
from revseg.ablation.run_statistics import resample_runs
from revseg.ablation.variants import slug, train_split_of
from revseg.errors import InputError, MissingExtraError, OutputError, RevsegError, SpecError
from revseg.evaluation import Results, compare, score
from revseg.training import grpo

WORLD = "shapes:size=5,frames=6,height=32,width=32,seed=3,split=test"
MORE = WORLD.replace("size=5", "size=7")  # enough videos for an interval
BASE = ReVSeg(policy="oracle", tracker="fill_box", num_frames=4)
THREE = {"oracle": {}, "chance": {"policy": "random"}, "flow": {"tracker": "flow"}}
MODULE: Any = sys.modules["revseg.evaluation.run"]  # its name in the package is the function's


def run(out: Path, variants: Mapping[str, Any] = THREE, data: Any = WORLD, **options: Any) -> Table:
    return revseg.ablate(variants, data, out=out, **{"base": BASE, **options})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return run(tmp_path_factory.mktemp("three"), data=MORE, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


def test_figures_are_those_of_the_single_runs(table: Table, tmp_path: Path):
    alone = [
        score(revseg.evaluate(BASE.replace(policy="random", sampling=revseg.Sampling(seed=s)), MORE, tmp_path / f"{s}"))
        for s in range(3)
    ]
    jf = [one.overall["J&F"] for one in alone]
    cell = table.cell("chance")
    assert list(cell.seeds.values()) == pytest.approx(jf)
    assert len(set(jf)) > 1  # a seed is that of the sampling
    assert cell.mean == pytest.approx(np.mean(jf))
    assert cell.spread == pytest.approx(np.std(jf, ddof=1))
    assert cell.low is not None
    assert cell.high is not None
    assert cell.low <= cell.mean <= cell.high
    assert table.cell("oracle", "parsed").mean == 1
    assert table.cell("oracle", "reward").mean == 3
    assert table.variants == ("oracle", "chance", "flow")


def test_one_seed_gives_the_paired_comparison_of_compare(tmp_path: Path):
    table = run(tmp_path)
    files = {name: Results.open(next((tmp_path / name).glob("*.jsonl"))) for name in ("oracle", "chance")}
    expected = compare(files["oracle"], files["chance"]).differences["J&F"]
    found = table.difference("chance")
    assert (found.a, found.b) == pytest.approx((expected.a, expected.b))
    assert (found.low, found.high, found.p) == pytest.approx((expected.low, expected.high, expected.p))
    assert (found.better, found.equal, found.worse) == (expected.better, expected.equal, expected.worse)
    assert table.cell("chance").spread is None
    back = table.difference("oracle", "chance")
    assert back.difference == pytest.approx(-found.difference)
    assert table.difference("oracle").difference == 0


def test_seeds_widen_the_interval():
    """Two runs a whole unit apart, no spread over videos: only the draw of runs is left, mean 0, 0.5 or 1."""
    rows = np.array([np.zeros(4000), np.ones(4000)])
    values, counts = np.unique(resample_runs(rows, 1), return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_nothing_is_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed at the fifth row of the second variant; started again it makes what is missing, then nothing at all."""
    made, kill = [], [True]
    rows = MODULE.make_rows

    def watched(model: ReVSeg, data: Any, todo: Any, batch: int) -> Any:
        for row in rows(model, data, todo, batch):
            if kill and len(made) == 7:
                raise KeyboardInterrupt
            made.append((model.policy, row["index"]))
            yield row

    monkeypatch.setattr(MODULE, "make_rows", watched)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    kill.clear()
    first = run(tmp_path)
    assert len(made) == len(set(made) | {("oracle", 9 + i) for i in range(5)}) == 15  # "flow" is an oracle too
    held = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    again = run(tmp_path)
    assert len(made) == 15
    assert held == {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    assert first.to_json() == again.to_json()


def test_a_new_variant_and_a_larger_limit_keep_what_is_there(tmp_path: Path):
    lines: list[str] = []
    run(tmp_path, {"oracle": {}}, limit=2)
    before = next((tmp_path / "oracle").iterdir())
    table = run(tmp_path, {"oracle": {}, "chance": BASE.replace(policy="random")}, limit=4, report=lines.append)
    assert table.to_dict()["queries"] == 4
    assert next((tmp_path / "oracle").iterdir()) == before
    assert len(lines) == 2
    assert lines[1].startswith("2 of 2: chance, seed 0: 4 queries, J&F ")


def test_another_dataset_is_paired_where_its_scenes_are_the_same(tmp_path: Path):
    variants = {
        "plain": {},
        "noise": Variant(dataset=f"{MORE},noise=0.2"),
        "small": Variant(dataset=f"{MORE},scale=0.6"),
    }
    table = run(tmp_path, variants, MORE)
    assert table.paired("noise")
    assert not table.paired("small")
    gap = table.difference("small")
    assert (gap.better, gap.equal, gap.worse) == (0, 0, 0)
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low <= gap.difference <= gap.high
    assert gap.p is not None
    assert table.notes == ("scored on other scenes or questions than the first: small",)
    assert "(not paired)" in table.to_markdown()


def test_json_markdown_and_plot(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = table.to_json(tmp_path / "deep" / "table.json")
    assert (tmp_path / "deep" / "table.json").read_text() == text
    data = json.loads(text)
    assert data["compared_with"] == "oracle"
    chance = data["variants"]["chance"]
    assert chance["figures"]["J&F"]["mean"] == table.cell("chance").mean
    assert list(chance["figures"]["J&F"]["seeds"]) == ["0", "1", "2"]
    assert chance["differences"]["J&F"]["difference"] == pytest.approx(
        table.cell("chance").mean - table.cell("oracle").mean
    )
    lines = table.to_markdown(["parsed"]).splitlines()
    assert lines[0] == "| variant | seeds | J&F | Δ J&F | p | parsed |"
    assert lines[2].startswith("| oracle | 0, 1, 2 | ")
    assert lines[2].count("±") == 2
    assert lines[3].split(" | ")[3].startswith("-")
    printed = table.text(["parsed"]).splitlines()
    assert printed[0].split() == ["variant", "seeds", "J&F", "Δ", "J&F", "p", "parsed"]
    assert printed[1].split() == lines[2].replace("|", " ").split()
    assert printed[2].split() == lines[3].replace("|", " ").split()
    assert printed[1].index("±") == printed[2].index("±")
    with pytest.raises(InputError, match="no variant 'none'"):
        table.cell("none")
    with pytest.raises(InputError, match="no figure 'Q'"):
        table.to_markdown(["Q"])
    pytest.importorskip("matplotlib")
    assert np.ptp(np.asarray(Image.open(table.plot(tmp_path / "a.png")).convert("L"))) > 100
    with pytest.raises(OutputError, match="png"):
        table.plot(tmp_path / "a.nothing")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install revseg\[plots\]"):
        table.plot(tmp_path / "a.png")


def test_crashes_are_said_and_do_not_break_the_pairing(tmp_path: Path):
    script = {f"shapes-test-3-{i}-query": ["nothing", "nothing"] for i in range(6)}  # none for the seventh: a crash
    table = run(tmp_path, {"oracle": {}, "mute": {"policy": {"name": "scripted", "replies": script}}}, MORE)
    assert table.notes == ("mute, seed 0: 1 samples crashed, and count as zero",)
    assert table.cell("mute", "parsed").mean == 0
    gap = table.difference("mute", figure="parsed")
    assert (gap.low, gap.high, gap.worse) == (-1, -1, 6)  # of the six that both have
    assert gap.p == 2 / 2**6


def test_a_table_of_few_videos_says_why_it_has_no_interval(tmp_path: Path):
    table = run(tmp_path, {"oracle": {}, "chance": {"policy": "random"}})
    why = "no interval and no p for oracle, chance: 5 videos, and 95% need at least 6"
    gap = table.difference("chance")
    assert (gap.low, gap.high, gap.p, table.cell("oracle").low) == (None, None, None, None)
    assert gap.why == "5 videos, and 95% need at least 6"
    assert table.to_markdown().splitlines()[3].split(" | ")[4].strip() == ""
    assert table.to_markdown().splitlines()[-1] == f"- {why}"
    assert table.text().splitlines()[-1] == f"note: {why}"
    data = table.to_dict()
    assert data["notes"] == [why]
    assert data["variants"]["chance"]["differences"]["J&F"]["p"] is None
    json.dumps(data, allow_nan=False)


class Killed(RevsegError):
    pass


def small(weights: str) -> ReVSeg:
    return ReVSeg(
        policy=f"qwen:model={weights}",
        tracker="fill_box",
        plan=TWO,
        num_frames=4,
        rewards=REWARDS,
        sampling=revseg.Sampling(max_new_tokens=LIMIT),
    )


def trained(out: Path, weights: str, **options: Any) -> Table:
    base = small(weights)
    variants = {
        "start": Variant(train=False),
        "grpo": {},
        "fewer": Variant(test={"num_frames": 2}),  # shares the training of "grpo"
        "length": ({"rewards": {"training_world:length": 1.0}}, {"objective": "dr_grpo"}),
    }
    settings = config(steps=2, queries_per_step=1, group_size=2, save_every=1)
    return run(
        out, variants, "shapes:size=2,frames=6,height=32,width=32,split=test", base=base, train=settings, **options
    )


@pytest.mark.slow
def test_training_is_shared_interrupted_and_resumed(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch):
    whole = trained(tmp_path / "whole", weights)
    assert len([p for p in (tmp_path / "whole" / "trained").iterdir() if p.is_dir()]) == 2
    steps, kill = [], [True]
    judge = grpo.judge

    def killed(model: Any, samples: Any, settings: Any, step: int, accelerator: Any, starts: Any) -> Any:
        if step == 1 and kill:
            raise Killed
        steps.append(step)
        return judge(model, samples, settings, step, accelerator, starts)

    monkeypatch.setattr(grpo, "judge", killed)
    with pytest.raises(Killed):
        trained(tmp_path / "torn", weights)
    kill.clear()
    torn = trained(tmp_path / "torn", weights)
    assert steps == [0, 1, 0, 1]  # the rest of the first training, then the second
    for name in whole.variants:
        assert torn.cell(name).seeds == whole.cell(name).seeds
        assert torn.cell(name, "reward").seeds == whole.cell(name, "reward").seeds
    trained(tmp_path / "torn", weights)
    assert len(steps) == 4
    record = whole.to_dict()["variants"]
    assert record["start"]["training"] == {}
    assert record["grpo"]["training"] == record["fewer"]["training"]
    assert record["grpo"]["training"]["0"]["steps"] == 2
    assert record["grpo"]["training"]["0"]["train_on"].endswith("split=train")
    assert record["length"]["training"]["0"]["settings"]["objective"] == "dr_grpo"
    assert set(record["length"]["spec"]["rewards"]) == set(REWARDS)  # all are judged alike
    assert record["fewer"]["spec"]["num_frames"] == 2


def test_training_on_what_is_scored_is_said(tmp_path: Path, weights: str):
    base = small(weights)
    world = "shapes:size=1,frames=6,height=32,width=32,split=test"
    settings = config(steps=1, queries_per_step=1, group_size=2, objective="grpo:beta=0")
    table = run(tmp_path, {"grpo": {}}, world, base=base, train=settings, train_on=world)
    assert "trained on the samples that they are scored on: grpo" in table.notes
    assert table.cell("grpo").low is None  # one video tells nothing of others


def test_names_and_splits():
    assert slug("0/1, soft") == "0-1-soft"
    assert slug("..") == "variant"
    assert train_split_of("shapes:size=4,split=test") == "shapes:size=4,split=train"
    assert train_split_of({"name": "shapes", "size": 4}) == "shapes:size=4,split=train"
    assert train_split_of("tests/world.py:data") == "tests/world.py:data"


@pytest.mark.parametrize(
    ("variants", "options", "match"),
    [
        ({}, {}, "at least one variant"),
        ({"a": "random"}, {}, "variant as a ReVSeg"),
        ({"a": {}, "b": {"trackers": "flow"}}, {}, "variant 'b': ReVSeg has no setting 'trackers'"),
        ({"a": {"num_frames": 0}}, {}, "variant 'a': expected num_frames"),
        ({"a": {"sampling": {"heat": 1}}}, {}, "variant 'a'.*heat"),
        ({"a b": {}, "a/b": {}}, {}, "would share a folder"),
        ({"a": {}}, {"seeds": (1, 1)}, "none twice"),
        ({"a": {}}, {"seeds": ()}, "one seed or more"),
        ({"a": ({}, {"step": 1})}, {}, "variant 'a': training has no setting 'step'"),
        ({"a": ({}, {"seed": 1})}, {}, "seeds are those of the ablation"),
        ({"a": (ReVSeg(policy=object()), {})}, {}, "named by a spec"),
        ({"a": Variant(train={}, test={"policy": "random"})}, {}, "changes the policy"),
        ({"a": {"sampler": "nope"}}, {}, "nope"),
        ({"a": ({}, {"objective": "nope"})}, {}, "nope"),
    ],
)
def test_mistakes_are_said_before_any_work(tmp_path: Path, variants: Any, options: Any, match: str):
    with pytest.raises((InputError, SpecError), match=match):
        run(tmp_path / "out", variants, **options)
    assert not (tmp_path / "out").exists()


def test_not_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        ablation(THREE, WORLD, out=tmp_path)
