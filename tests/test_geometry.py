"""The unit of coordinates and the sizes of pictures come from the policy, whatever form the plan has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_codecs import without_weights
from tiny_qwen import save_tiny_qwen
from tiny_qwen3 import save_tiny_qwen3

import revseg
from revseg.errors import InputError
from revseg.policies.defaults import geometry_of
from revseg.policies.hf.policy import HFPolicy
from revseg.registry import build
from revseg.rollout.geometry import fitted_spec, leaves_open
from revseg.testing import moving_squares
from revseg.types import Clip, Geometry, Message, Query, Reply, Rollout, Round, Sampling, Target

NEWER = Geometry("per_mille", 32)
BOX = [100, 200, 300, 400]
KEYFRAME_REPLY = '<think>.</think><answer>[{"frame_idx": 1, "object description": "red"}]</answer>'
BOTH_REPLY = f'<think>.</think><answer>[{{"frame_idx": 1, "object description": "red", "bbox_2d": {BOX}}}]</answer>'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both families, without weights."""
    saved = {
        "qwen2_5_vl": save_tiny_qwen(tmp_path_factory.mktemp("a")),
        "qwen3_vl": save_tiny_qwen3(tmp_path_factory.mktemp("b")),
    }
    return {name: without_weights(folder, tmp_path_factory.mktemp(name) / "copy") for name, folder in saved.items()}


class PerMille:
    """A policy of somebody's own, which says how it writes coordinates: it answers every round with one box."""

    coords = "per_mille"
    side = 32

    def __init__(self) -> None:
        self.asked: list[Message] = []

    def reply(self, rollouts: Any, prompts: Any, *, sampling: Sampling) -> list[Reply]:
        self.asked += prompts
        answers = {
            ("keyframe",): KEYFRAME_REPLY,
            ("box",): json.dumps([{"bbox_2d": BOX}]),
            ("keyframe", "box"): BOTH_REPLY,
            ("verdict",): '{"verdict": "yes"}',
        }
        return [Reply(answers[tuple(prompt.asks)]) for prompt in prompts]


def by_function(rollout: Rollout) -> Round | None:
    pairs = [("keyframe", "keyframe_json"), ("box", "box_json")]
    if len(rollout.turns) == len(pairs):
        return None
    prompt, parser = pairs[len(rollout.turns)]
    return Round("asked", build("prompt", prompt), build("parser", parser))


PLANS = {
    "the default": None,
    "pairs": [("keyframe", "keyframe_json"), ("box", "box_json")],
    "pairs of objects": [
        (build("prompt", "keyframe"), build("parser", "keyframe_json")),
        (build("prompt", "box"), build("parser", "box_json:strict=True")),
    ],
    "one round": "one_round",
    "per object": "per_object",
    "verified": "verified",
    "a mapping": {"name": "two_rounds", "box": ["box", "box_json"]},
    "a function": by_function,
    "a file": f"{__file__}:ByFile",
}


class ByFile:
    def __call__(self, rollout: Rollout, /) -> Round | None:
        return by_function(rollout)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_per_mille_answer_is_never_read_as_pixels(plan: Any) -> None:
    policy = PerMille()
    scene = moving_squares()
    rollout = revseg.ReVSeg(policy, plan=plan).rollout(scene.video, Query("q", "what moves?"))
    assert rollout.error is None
    (grounding,) = rollout.groundings
    np.testing.assert_allclose(grounding.boxes, [[0.1, 0.2, 0.3, 0.4]], atol=1e-6)
    for message in policy.asked:
        assert "pixel" not in message.text
        assert all(side % 32 == 0 for clip in message.clips for side in clip.size)
        assert ("1000" in message.text) == ("box" in message.asks)


def test_what_is_given_is_kept() -> None:
    model = revseg.ReVSeg(
        PerMille(), plan=[("keyframe:size=64", "keyframe_json"), ("box:size=96", "box_json:coords=unit")]
    )
    plan = model.resolved().plan
    assert plan == (("keyframe:size=64", "keyframe_json"), ("box:size=96,coords=per_mille", "box_json:coords=unit"))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ((("box", "box_json"),), (("box:coords=per_mille,size=832", "box_json:coords=per_mille"),)),
        (
            (({"name": "box", "size": 64}, "box_json:strict=True"),),
            (({"name": "box", "size": 64, "coords": "per_mille"}, "box_json:strict=True,coords=per_mille"),),
        ),
        ((("box_terse", "keyframe_json"),), (("box_terse:size=128", "keyframe_json"),)),
        ((("box:coords=pixel,size=840", "box_json:coords=pixel"),), None),
        ((("nobody", "mine.py:parser"), ("keyframe", "verdict")), None),
        ("nobody", None),
        ("mine.py:plan", None),
        (by_function, None),
        (
            "verified:tries=1",
            {
                "name": "verified",
                "tries": 1,
                "box": ["box:coords=per_mille,size=832", "box_json:coords=per_mille"],
                "verify": ["verify:size=832", "verdict"],
            },
        ),
    ],
)
def test_specs_by_hand(plan: Any, expected: Any) -> None:
    assert fitted_spec(plan, NEWER) == (plan if expected is None else expected)
    assert fitted_spec(fitted_spec(plan, NEWER), NEWER) == fitted_spec(plan, NEWER)
    assert leaves_open(plan) or expected is None
    assert fitted_spec(plan, Geometry("pixel", 28)) == plan


def test_the_family_of_a_folder_decides(folders: dict[str, str]) -> None:
    """By its config.json: no weights are there."""
    paper = (("keyframe", "keyframe_json"), ("box", "box_json"))
    assert revseg.ReVSeg(f"hf:model={folders['qwen2_5_vl']}").resolved().plan == paper
    newer = revseg.ReVSeg(f"hf:model={folders['qwen3_vl']}")
    assert newer.resolved().plan == (paper[0], ("box:coords=per_mille,size=832", "box_json:coords=per_mille"))
    assert newer.replace(policy=f"hf:model={folders['qwen2_5_vl']}").resolved().plan == paper
    again = revseg.ReVSeg.from_dict(newer.resolved().to_dict())
    assert again.resolved() == newer.resolved()
    assert geometry_of(f"qwen:model={folders['qwen3_vl']}") == NEWER


def test_the_sizes_of_a_config_are_checked(folders: dict[str, str], tmp_path: Path) -> None:
    config = json.loads(Path(folders["qwen3_vl"], "config.json").read_text())
    for vision, side in (({"patch_size": 14, "spatial_merge_size": 2}, 28), ({"patch_size": "x"}, 32), (3, 32)):
        (tmp_path / "config.json").write_text(json.dumps({**config, "vision_config": vision}))
        assert HFPolicy.geometry_of({"model": str(tmp_path)}) == Geometry("per_mille", side)
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "vision_config": {"patch_size": 9000, "spatial_merge_size": 2}})
    )
    with pytest.raises(InputError, match="expected sides of pictures of 1 to 8192 pixels, got 18000"):
        revseg.ReVSeg(f"hf:model={tmp_path}").resolved()


def test_a_loaded_policy_says_the_same(tmp_path: Path) -> None:
    policy = HFPolicy(save_tiny_qwen3(tmp_path))
    assert geometry_of(policy) == geometry_of(f"hf:model={tmp_path}") == NEWER


def test_policies_without_a_model() -> None:
    assert geometry_of("oracle") == geometry_of("random") == Geometry()
    assert geometry_of("oracle:coords=unit") == geometry_of(build("policy", "oracle:coords=unit")) == Geometry("unit")
    assert geometry_of(PerMille()) == geometry_of(f"{__file__}:PerMille") == NEWER
    with pytest.raises(InputError, match="coords to be one of pixel, per_mille, unit, got 'metres'"):
        revseg.ReVSeg("oracle:coords=metres").resolved()


@pytest.mark.parametrize("coords", ["pixel", "per_mille", "unit"])
def test_a_policy_with_an_option_is_read_in_its_unit(coords: str) -> None:
    scene = moving_squares()
    box = [0.125, 0.25, 0.5, 0.75]
    policy = {"name": "given", "keyframe": 1, "box": box, "coords": coords}
    rollout = revseg.ReVSeg(policy).rollout(scene.video, Query("q", "x"))
    np.testing.assert_allclose(rollout.groundings[0].boxes, [box], atol=2e-3)


# words


CLIP = Clip(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2))


def asked(prompt: str) -> str:
    turn = revseg.types.Turn(Message("user", (CLIP,)), Reply(""), revseg.types.Answer((Target(0, "the {x}"),)), CLIP)
    start = Rollout(CLIP, Query("q", "what?"))
    return build("prompt", prompt)(Rollout(CLIP, start.query, (turn,)) if prompt.startswith("box") else start).text


def test_prompts_in_pixels_are_what_they_were() -> None:
    words = 'Answer in JSON with pixel coordinates: [{"bbox_2d": [x1, y1, x2, y2], "label": "..."}].'
    for prompt in ("box:size=8", "box:size=8,coords=pixel"):
        assert asked(prompt) == f"Detect the {{x}} in this picture. {words}"
    for prompt in ("keyframe_and_box:size=8", "keyframe_and_box:size=8,coords=pixel"):
        assert "\nGive its bounding box on that frame in pixels, as [x1, y1, x2, y2].\n" in asked(prompt)


def test_prompts_name_other_units() -> None:
    assert "with coordinates from 0 to 1000 (thousandths of the picture's width and height): [{" in asked(
        "box:size=8,coords=per_mille"
    )
    assert "on that frame in thousandths of the frame's width and height (0 to 1000), as [x1, y1, x2, y2]." in asked(
        "keyframe_and_box:size=8,coords=per_mille"
    )
    assert "coordinates from 0 to 1 (fractions" in asked("box:size=8,coords=unit")
    assert "in fractions of the frame's width and height (0 to 1), as" in asked("keyframe_and_box:size=8,coords=unit")
    for prompt in ("box:size=8,coords=inches", "keyframe_and_box:size=8,coords=inches"):
        with pytest.raises(
            revseg.errors.SpecError, match="coords='inches': expected one of pixel, per_mille, unit, or"
        ):
            asked(prompt)
