"""Each ablation script of benchmarks/ at the smallest size: it runs, goes on, and leaves a record that says enough."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from parts import built
from safetensors.torch import load_file
from tiny_qwen import save_tiny_qwen

import revseg
from revseg import Sampling, Table
from revseg.types import Clip, Query, Reply, Rollout, Target, Turn

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
WORLD = "frames=8,height=48,width=48"
NO_TRAINING = {"tracker": "fill_box", "num_frames": 4}


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all scripts, so that they share trainings as they do when they are run for real."""
    folder = tmp_path_factory.mktemp("ablations")
    save_tiny_qwen(folder / "tiny", defaults={"num_frames": 4})
    return folder


def tiny(place: Path) -> Any:
    model = {"policy": f"qwen:model={place / 'tiny'}", "tracker": "fill_box", "sampling": Sampling(max_new_tokens=4)}
    train = {"queries_per_step": 1, "group_size": 2, "max_new_tokens": 4, "objective": "grpo:beta=0"}
    return script("ablations").Size(1, (0,), 2, model, train, WORLD)


def trainings(place: Path) -> set[str]:
    return {folder.name for folder in (place / "trained").iterdir() if folder.is_dir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variants", "trained"),
    [
        ("temporal_reward", 4, 3),
        ("decomposition", 4, 2),
        ("frames", 8, 3),
        ("reward_weights", 4, 2),
        ("objectives", 3, 1),
        ("learning", 6, 2),
    ],
)
def test_scripts_that_train(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, variants: int, trained: int):
    module = script(name)
    for what, few in (("WEIGHTS", ((1, 0, 1),)), ("OBJECTIVES", ("grpo:beta=0", "dr_grpo"))):
        if hasattr(module, what):
            monkeypatch.setattr(module, what, few)
    before = trainings(place) if (place / "trained").exists() else set()
    result = module.run(place / name, tiny(place))
    found: dict[str, Any] = {"table": result} if isinstance(result, Table) else result
    table: Table = found["table"]
    assert len(table.variants) == variants
    assert len({run.train["folder"] for run in table.runs if run.train}) >= trained
    new = trainings(place) - before
    assert len(new) <= trained  # those of other scripts are used again
    bounds = {"random", "oracle:per_object=True", "qwen:model=small_sft"}
    policies = {run.header["spec"]["policy"] for run in table.runs} - bounds
    assert len(policies) == len({run.train.get("folder") for run in table.runs})
    if name == "decomposition":
        assert set(found["gain_by_rl"]) == {"one round", "two rounds"}
    if name == "learning":
        assert [len(found["gain_by_rl"][figure]) for figure in ("J&F", "reward")] == [2, 2]
        assert set(found["first_and_last_steps"]) >= {"reward", "reward/temporal", "tokens"}
        assert table.cell("random", "reward").mean < 2.5 < table.cell("oracle", "reward").mean
        assert set(found["share_of_the_way_to_the_oracle"]) == {"J&F", "reward"}
        assert found["figures"]["learning_curves"].stat().st_size > 10_000
    if name == "frames":
        assert min(found["seconds_per_step"].values()) > 0
        assert [run.header["spec"]["num_frames"] for run in table.runs] == [16, 12, 20, 12, 20, 12, 16, 20]
    if name == "reward_weights":
        assert trainings(place) >= new
        spec = [run.header["spec"]["rewards"] for run in table.runs]
        assert all(one == spec[0] for one in spec)  # judged alike


def test_generalisation_and_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module, ablations = script("generalisation"), script("ablations")
    shifts = {"noise": "noise=0.1", "small": "scale=0.6", "long": "frames=16"}
    monkeypatch.setattr(module, "SHIFTS", shifts)
    size = ablations.Size(1, (0,), 4, {"policy": "oracle", **NO_TRAINING}, {}, WORLD)
    found = module.run(tmp_path / "work", size)
    assert [found["drops"][name]["paired"] for name in shifts] == [True, False, False]
    assert found["drops"]["noise"]["drop"] == 0  # the oracle does not look
    assert found["table"].runs[3].header["dataset"] == "shapes:size=4,split=test,frames=16,height=48,width=48"
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / "generalisation.py"), "--samples", "4"])
    ablations.write(tmp_path / "results", "generalisation", found, size, 1.5)
    record = json.loads((tmp_path / "results" / "generalisation.json").read_text("utf-8"))
    assert record["command"] == "python benchmarks/generalisation.py --samples 4"
    assert {"seeds", "machine", "versions", "commit", "date", "table", "drops", "train"} <= set(record)
    assert "starting_checkpoint" not in record  # the oracle was not taught
    assert str(BENCHMARKS.parent) not in json.dumps(record)
    assert (tmp_path / "results" / "generalisation.png").exists()


@pytest.mark.slow
def test_averaging_chooses_on_validation_and_tells_on_test(tmp_path: Path):
    model = {"policy": "qwen:model=small_mixed", "tracker": "fill_box"}
    found = script("averaging").run(tmp_path, script("ablations").Size(1, (0,), 3, model))
    shown = found["validation"]["variants"]
    assert list(shown) == ["0.00", "0.25", "0.50", "0.75", "1.00", "control, 0.50 of RL's start"]
    means = {name: record["figures"]["reward"]["mean"] for name, record in shown.items()}
    assert means[f"{found['share']:.2f}"] == max(list(means.values())[:5])
    assert all("split=test" in run.header["dataset"] for run in found["table"].runs)
    assert set(found["average_minus"]["J&F"]) == {"supervised", "after RL"}
    made = [load_file(tmp_path / name / "model.safetensors") for name in ("share-0.50", "control")]
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())  # here RL did nothing


def test_the_bundled_policy_is_described():
    record = script("ablations").circumstances(script("ablations").Size())
    assert {"85 %", "60 %"} <= set(re.findall(r"\d+ %", record["starting_checkpoint"]))
    assert record["taught"]["num_frames"] == 16
    assert "checkpoint small_mixed" in record["policy"]["files"]


@pytest.mark.slow
def test_stage_one_accounts_for_all_that_is_lost(tmp_path: Path):
    size = script("ablations").Size(1, (0,), 8, {"policy": "random", **NO_TRAINING}, {}, WORLD)
    found = script("stage_one").run(tmp_path, size)
    table = found["table"]
    assert table.cell("true everything, tracker too").mean == 1
    assert sum(part["J&F"] for part in found["lost"].values()) == pytest.approx(1 - table.cell("policy").mean)
    assert table.cell("true keyframe", "reward/temporal").mean == 1
    assert table.cell("true box", "reward/temporal").mean == table.cell("policy", "reward/temporal").mean
    assert table.cell("true keyframe, description and box", "reward/spatial").mean == 1
    assert found["shares"]["did not parse"] == 0
    assert found["shares"]["description names something else"] == 1  # it repeats the question
    assert found["correlation"]["all questions"]["questions"] == 8


def test_a_swap_keeps_what_it_does_not_replace():
    sample = built("dataset", f"shapes:size=1,split=test,{WORLD},kinds=['attribute']")[0]
    thought = '<think>hm</think><answer>[{"frame_idx":%d,"object description":"%s"}]</answer>'
    clip = Clip(sample.video.read(range(8)), np.arange(8))
    start = Rollout(clip, Query(sample.query.id, "what"), video=sample.video)
    message = revseg.build("prompt", "keyframe_terse:size=56")(start)

    def reply(text: str, **parts: bool) -> str:
        policy = script("stage_one").Assisted({"name": "scripted", "replies": [text]}, **parts)
        policy = policy.with_truth([sample])
        return policy.reply([start], [message], sampling=Sampling())[0].text

    name = sample.meta["descriptions"][0]
    areas = (sample.truth.boxes[:, 2:] - sample.truth.boxes[:, :2]).prod(1)
    best = int(areas.argmax())
    other = (best + 1) % 8
    parser = revseg.build("parser", "keyframe_json")

    def answer(text: str) -> tuple[Any, ...]:
        (target,) = parser(text, clip).targets
        return target.frame_id, target.description

    own = thought % (other, "blob")
    assert reply(own) == own
    assert answer(reply(own, keyframe=True)) == (best, "blob")
    assert answer(reply(own, description=True)) == (other, name)
    assert answer(reply("nonsense", keyframe=True, description=True)) == (best, name)
    assert reply("nonsense", keyframe=True) == "nonsense"
    assert "<think>hm</think>" in reply(own, keyframe=True)
    turn = Turn(message, Reply(own), parser(own, clip), clip, then=1)
    held = Rollout(clip, start.query, (turn,), sample.video)
    policy = script("stage_one").Assisted({"name": "scripted", "replies": ["", "mine"]}, box=True)
    policy = policy.with_truth([sample])
    found = policy.reply([held], [revseg.build("prompt", "box_terse:size=56")(held)], sampling=Sampling())[0].text
    assert ("bbox_2d" in found) == bool(sample.truth.visible[other])
    assert isinstance(turn.answer.targets[0], Target)


def test_correlations_by_hand():
    rows = [{"temporal": t, "j_and_f": j} for t, j in ((0, 0.1), (0.5, 0.2), (1, 0.9))]
    found = script("stage_one").correlation(rows)
    assert found["spearman"]["r"] == pytest.approx(1)
    assert found["pearson"]["r"] == pytest.approx(0.91766, abs=1e-5)
    assert script("stage_one").correlation(rows[:2])["pearson"]["r"] is None
    assert script("stage_one").correlation([])["questions"] == 0


def test_held_out_is_evaluate(tmp_path: Path):
    module = script("held_out")
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box")
    world = f"shapes:size=3,split=test,{WORLD},kinds=['attribute']"
    found = module.summary(module.run(model, world, tmp_path / "rows.jsonl"))
    assert found["all"] == found["single"]
    assert found["all"]["n"] == 3
    assert found["all"]["iou_over_half"] == found["all"]["keyframe_visible"] == 1
    assert module.table({"oracle": found}).count("\n") == 4
