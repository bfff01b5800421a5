"""Codecs: what a training engine gets of a rollout, built without weights; and a second family of models, as a stub."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_qwen import DRAW, TERSE, answered, groups, picture, second_prompts, two_rounds
from tiny_qwen import save_tiny_qwen
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

import revseg
from revseg.errors import InputError
from revseg.policies.hf.codecs import Codec
from revseg.policies.hf.codecs.qwen2_5_vl import Qwen25VL
from revseg.policies.hf.inputs import collate
from revseg.policies.hf.loading import load_codec
from revseg.policies.hf.mrope import Grid
from revseg.policies.hf.policy import HFPolicy
from revseg.registry import REGISTRIES, spec_of
from revseg.testing import check_policy, moving_squares
from revseg.types import Message, Query, Reply, Rollout, Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"), defaults={"num_frames": 4, "plan": TERSE})


@pytest.fixture(scope="module")
def policy(folder: str) -> HFPolicy:
    return HFPolicy(folder)


# a codec alone


def without_weights(folder: str, where: Path) -> str:
    """A copy of a model's folder with everything but its weights."""
    where.mkdir()
    for path in Path(folder).iterdir():
        if path.suffix != ".safetensors":
            (where / path.name).write_bytes(path.read_bytes())
    return str(where)


@pytest.mark.parametrize("model", ["tiny", "small_sft", "small_mixed", "small_grpo"])
def test_a_codec_is_made_without_weights(model: str, folder: str, tmp_path: Path) -> None:
    source = folder if model == "tiny" else str(revseg.registry.registry("checkpoint").get(model)().folder)
    codec, full = load_codec(without_weights(source, tmp_path / "copy")), HFPolicy(source).codec
    assert isinstance(codec, Codec)
    names = ("coords", "side", "cache", "end_id", "stops", "suppressed", "opened", "fps", "tokens_per_second")
    assert {name: getattr(codec, name) for name in names} == {name: getattr(full, name) for name in names}
    rollouts, prompts = groups((1,))
    a, b = (one.encode(rollouts[0], prompts[0])[0] for one in (codec, full))
    assert a.token_ids.tolist() == b.token_ids.tolist()


def test_a_trajectory_by_hand(policy: HFPolicy) -> None:
    """Prompt (a clip of 3 frames: two temporal patches of 2x2 tokens), reply of three tokens, prompt with a picture."""
    codec, clip = policy.codec, picture(0, frames=3)
    start = Rollout(clip, Query("q", "x"))
    ids, scores = np.array([7, 8, codec.end_id]), np.array([-0.5, -1.0, -0.25], np.float32)
    (held,) = answered([start], [Message("user", (clip, "x"))], [Reply("x", ids, scores)])
    (held,) = answered([held], second_prompts(1), [Reply("y", ids[:1], scores[:1])])
    found = codec.trajectory(held)
    first, second = (len(codec.prompt(t.prompt, first=i == 0).token_ids) for i, t in enumerate(held.turns))
    n = first + 3 + (second - 1) + 1  # the second prompt's first token is the end that the reply has already
    assert found.token_ids.shape == found.sampled.shape == found.logprobs.shape == (n,)
    assert np.flatnonzero(found.sampled).tolist() == [first, first + 1, first + 2, n - 1]
    assert found.token_ids[found.sampled].tolist() == [7, 8, codec.end_id, 7]
    assert found.logprobs[found.sampled].tolist() == [-0.5, -1.0, -0.25, -0.5]
    assert not found.logprobs[~found.sampled].any()
    assert [block.grid for block in found.pictures] == [Grid(2, 2, 2, 1.0), Grid(1, 3, 3)]
    before = int(np.flatnonzero(found.token_ids == policy.model.config.video_token_id)[0])  # type: ignore[attr-defined]
    clip_rows = found.positions[:, before : before + 8] - before  # two tokens a second, and a second between patches
    per_second = codec.config.vision_config.tokens_per_second  # type: ignore[attr-defined]
    assert clip_rows.tolist() == [[0] * 4 + [per_second] * 4, [0, 0, 1, 1] * 2, [0, 1] * 4]
    pixels, grids = codec.pixels(found.pictures)
    assert grids.tolist() == [[2, 4, 4], [1, 6, 6]]
    assert pixels.shape[0] == 2 * 16 + 36


def test_a_trajectory_is_what_the_policy_trains_on(policy: HFPolicy) -> None:
    """Ids and positions are the forward's; the recorded log-probs of the sampled tokens are the recomputed ones."""
    rollouts = two_rounds(policy)
    for rollout, scores in zip(rollouts, policy.logprobs(rollouts), strict=True):
        found = policy.codec.trajectory(rollout)
        inputs = collate(policy, [policy.codec.encode(rollout, None)], [0])
        assert inputs["input_ids"][0].tolist() == found.token_ids.tolist()
        assert inputs["position_ids"][1:, 0].tolist() == found.positions.tolist()
        np.testing.assert_allclose(found.logprobs[found.sampled], scores.detach().numpy(), atol=1e-4)


def test_a_trajectory_wants_log_probs(policy: HFPolicy) -> None:
    rollouts, prompts = groups((1,))
    reply = Reply("x", np.array([7, 8]), np.zeros(2, np.float32))
    object.__setattr__(reply, "logprobs", np.zeros(1, np.float32))
    (held,) = answered(rollouts, prompts, [reply])
    with pytest.raises(InputError, match="each of the 2 tokens of reply 1, got 1"):
        policy.codec.trajectory(held)
    (other,) = answered(rollouts, prompts, [Reply("red")])  # by a policy without tokens: nothing was sampled
    assert not policy.codec.trajectory(other).sampled.any()
    assert not len(policy.codec.trajectory(rollouts[0]).token_ids)


# another family


class TimedConfig(Qwen2_5_VLConfig):
    model_type = "timed_vl"


class TimedModel(Qwen2_5_VLForConditionalGeneration):
    config_class = TimedConfig


class Timed(Qwen25VL):
    """A family that writes the time before every two frames of a clip, each a picture of its own."""

    coords = "per_mille"

    @staticmethod
    def classes() -> tuple[Any, Any, Any]:
        return TimedConfig, TimedModel, Qwen2_5_VLProcessor

    def write(self, text: str, blocks: Any) -> tuple[str, list[Grid]]:
        clips = iter([block.grid for block in blocks if block.is_video])

        def timed(found: Any) -> str:
            grid = next(clips)
            return "".join(f"<{i * grid.seconds:.1f} seconds>{self.video_token}" for i in range(grid.t))

        grids = [Grid(1, b.grid.h, b.grid.w) for b in blocks for _ in range(b.grid.t)]
        return re.sub(re.escape(self.video_token), timed, text), grids


class Stateful(Timed):
    """The same, treated as one whose layers keep a state: nothing is reused, no prompt shared."""

    cache = "state"


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch):
    """Both registered for one test, as another package would do it."""
    codecs = REGISTRIES["codec"]
    monkeypatch.setattr(codecs, "_parts", dict(codecs._parts))
    codecs.names()
    revseg.register("codec", "timed_vl")(Timed)
    return codecs


@pytest.fixture
def timed(folder: str, families: Any, tmp_path: Path) -> str:
    """The tiny model, as one of the other family."""
    where = without_weights(folder, tmp_path / "timed")
    config = json.loads(Path(where, "config.json").read_text())
    net: Any = TimedModel(TimedConfig(**{**config, "model_type": "timed_vl"}))
    net.load_state_dict(HFPolicy(folder).model.state_dict())
    net.generation_config = GenerationConfig.from_pretrained(folder)
    net.save_pretrained(where)
    return where


def test_a_second_family_writes_its_own_text(timed: str, policy: HFPolicy) -> None:
    codec, clip = HFPolicy(timed).codec, picture(0, frames=5)
    message = Message("user", (clip, "where ", picture(1), "?"))
    piece = codec.prompt(message, first=True)
    text = codec.processor.tokenizer.decode(piece.token_ids)
    assert re.findall(r"<(\d\.\d) seconds>", text) == ["0.0", "1.0", "2.0"]
    assert [run for run in piece.runs if isinstance(run, Grid)] == [Grid(1, 2, 2)] * 4
    assert [block.grid.t for block in piece.blocks] == [3, 1]  # the tower still sees the clip as one
    plain = policy.codec.prompt(message, first=True)
    assert len(plain.token_ids) + 3 * len(codec.tokenize("<0.0 seconds>")) == len(piece.token_ids)


@pytest.mark.parametrize("kind", [Timed, Stateful])
def test_a_second_family_answers_and_scores(kind: Any, timed: str, families: Any) -> None:
    """The claims of test_qwen: cached as read alone, rollout log-probs as recomputed, gradients of a group as alone."""
    families._parts["timed_vl"] = kind
    both = HFPolicy(timed)
    assert isinstance(both.codec, kind)
    rollouts = two_rounds(both)
    assert bool(both._sessions._kept) == (kind is Timed)
    for rollout, scores in zip(rollouts, both.logprobs(rollouts), strict=True):
        expected = np.concatenate([turn.reply.logprobs for turn in rollout.turns])
        np.testing.assert_allclose(scores.detach().numpy(), expected, atol=1e-4)
    alone = HFPolicy(timed, reuse=False, batch_size=1)
    first = rollouts[0]
    for index, turn in enumerate(first.turns):
        before = Rollout(first.clip, first.query, first.turns[:index])
        (again,) = alone.reply([before], [turn.prompt], sampling=DRAW)
        assert again.token_ids.tolist() == turn.reply.token_ids.tolist()
    together, apart = (grads(both, part) for part in ([rollouts], [[r] for r in rollouts]))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def grads(policy: HFPolicy, batches: list[list[Rollout]]) -> torch.Tensor:
    for batch in batches:
        torch.cat(policy.logprobs(batch)).sum().backward()
    found = torch.cat([p.grad.reshape(-1) for p in policy.model.parameters() if p.grad is not None])
    policy.model.zero_grad()
    return found


def test_a_second_family_is_saved_recorded_and_rebuilt(timed: str, tmp_path: Path) -> None:
    HFPolicy(timed).save(str(tmp_path / "saved"))
    scene, taught = moving_squares(), json.loads(Path(timed, "revseg.json").read_text())
    assert HFPolicy(str(tmp_path / "saved")).defaults == taught
    model = revseg.ReVSeg(f"hf:model={tmp_path / 'saved'}", "fill_box", sampling=Sampling(1.0, max_new_tokens=12))
    found = model.segment(scene.video, scene.query, scene.truth)
    again = revseg.ReVSeg.from_dict(json.loads(json.dumps(model.to_dict())))
    texts = [[t.reply.text for t in m.rollout(scene.video, scene.query).turns] for m in (again, model)]
    assert texts[0] == texts[1] == [t.reply.text for t in found.rollout.turns]
    check_policy(HFPolicy(timed), plan=TERSE)


def test_a_family_without_a_codec_is_named_with_the_way_out(folder: str, timed: str, families: Any) -> None:
    del families._parts["timed_vl"]
    with pytest.raises(
        InputError, match=r"model_type qwen2_5_vl or qwen3_vl in .*got 'timed_vl'.*policy openai .*register a codec"
    ):
        HFPolicy(timed)
    families._parts["timed_vl"] = Timed
    config = Path(timed, "config.json")
    config.write_text(config.read_text().replace("timed_vl", "other"))
    with pytest.raises(InputError, match=r"model_type qwen2_5_vl or qwen3_vl or timed_vl in .*got 'other'"):
        load_codec(timed)


# one class under two names


def test_both_names_build_one_class_and_are_recorded_as_given(folder: str) -> None:
    for name in ("hf", "qwen"):
        spec = f"{name}:model={folder}"
        assert type(revseg.build("policy", spec)) is HFPolicy
        assert revseg.ReVSeg(spec).to_dict()["policy"] == spec_of(spec) == spec
