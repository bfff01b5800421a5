"""Qwen3-VL's codec against transformers' own processor and positions, adapters, and a step of training."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_qwen import DRAW, answered, groups, picture, two_rounds
from tiny_qwen3 import SUPPORTED, save_tiny, save_tiny_qwen3
from training_world import REWARDS, config, samples

import revseg
from revseg.errors import InputError
from revseg.policies.hf.codecs.qwen3_vl import Qwen3VL
from revseg.policies.hf.inputs import collate
from revseg.policies.hf.loading import load_codec
from revseg.policies.hf.mrope import Grid
from revseg.policies.hf.policy import HFPolicy
from revseg.types import Message, Query, Rollout, Sampling

pytestmark = SUPPORTED

CLIP = "<|vision_start|><|video_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures of multiples of 32, as of the released models."""
    return save_tiny_qwen3(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def policy(folder: str) -> HFPolicy:
    return HFPolicy(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> HFPolicy:
    """Pictures of multiples of 28, as those of test_qwen."""
    return HFPolicy(save_tiny("qwen3_vl", tmp_path_factory.mktemp("small")))


@pytest.mark.parametrize("frames", [2, 5, 6, 16])
@pytest.mark.parametrize("fps", [2.0, 0.7])
def test_inputs_are_those_of_the_official_processor(frames: int, fps: float, folder: str) -> None:
    """Tokens, positions and patches of a clip, a picture and text, given the wrapper of the first releases."""
    from transformers.video_utils import VideoMetadata

    policy = HFPolicy(folder, fps=fps)
    clip, still = picture(1, frames=frames, side=64), picture(2, side=96)
    message = Message("user", (clip, "a", still, "b"))
    found = collate(policy, [policy.codec.encode(Rollout(clip, Query("q", "x")), message)], [0])
    content = [{"type": "video"}, {"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    text = policy.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    metadata = VideoMetadata(total_num_frames=frames, fps=fps, frames_indices=list(range(frames)))
    inputs = policy.processor(
        text=[text.replace(CLIP, "<|video_pad|>")],
        images=[still.frames[0]],
        videos=[torch.as_tensor(clip.frames).permute(0, 3, 1, 2)],
        video_metadata=[metadata],
        do_sample_frames=False,
        do_resize=False,
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    assert found["input_ids"].tolist() == inputs["input_ids"].tolist()
    for name in ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw"):
        torch.testing.assert_close(found[name], inputs[name])
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")
    official: Any = policy.model.model.get_rope_index  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    positions, _ = official(**{name: inputs[name] for name in names})
    assert found["position_ids"][1:].tolist() == positions.tolist()


def test_a_clip_by_hand(policy: HFPolicy) -> None:
    """Five frames at two a second: the middles of (0, 0.5), (1, 1.5), and of the last frame with itself."""
    codec = policy.codec
    piece = codec.prompt(Message("user", (picture(0, frames=5, side=64), "?")), first=True)
    text = codec.processor.tokenizer.decode(piece.token_ids)
    shown = "<|vision_start|>" + "<|video_pad|>" * 4 + "<|vision_end|>"
    assert f"user\n<0.2 seconds>{shown}<1.2 seconds>{shown}<2.0 seconds>{shown}?" in text
    assert [run for run in piece.runs if isinstance(run, Grid)] == [Grid(1, 2, 2)] * 3
    (block,) = piece.blocks
    assert (block.grid.t, block.frames) == (3, 5)


def test_a_codec_without_weights(folder: str, policy: HFPolicy) -> None:
    codec = load_codec(folder)
    assert isinstance(codec, Qwen3VL)
    assert (codec.coords, codec.side, codec.cache) == ("per_mille", 32, "full")
    ids = codec.processor.tokenizer.convert_tokens_to_ids
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    assert codec.suppressed == tuple(sorted(map(ids, special)))
    assert codec.end_id == ids("<|im_end|>")
    assert codec.stops == policy.codec.stops
    assert len(codec.stops) > 1


@pytest.mark.parametrize("words", ["<|video_pad|>", CLIP, "<|image_pad|>"])
def test_placeholders_in_the_query_are_refused(words: str, policy: HFPolicy) -> None:
    with pytest.raises(InputError, match="placeholder token: remove it from the query"):
        policy.codec.prompt(Message("user", (picture(0, frames=2, side=64), words)), first=True)


def test_a_template_without_the_clip_is_refused(policy: HFPolicy) -> None:
    template = policy.processor.chat_template.replace(CLIP, "")
    codec = load_codec(policy.model.name_or_path)  # pyright: ignore[reportArgumentType]
    codec.template = template  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match="left out 1 of the pictures"):
        codec.prompt(Message("user", (picture(0, frames=2, side=64), "x")), first=True)


def test_sizes_are_multiples_of_32(policy: HFPolicy) -> None:
    with pytest.raises(InputError, match=r"multiples of 32.*840x840.*size=832"):
        policy.codec.prompt(Message("user", (picture(0, side=840), "x")), first=True)


def test_an_old_transformers_is_named(policy: HFPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Qwen3VLModel

    monkeypatch.setattr(Qwen3VLModel, "forward", lambda self, input_ids: None)
    with pytest.raises(InputError, match=re.escape("transformers 5.18 or later")):
        load_codec(policy.model.name_or_path)  # pyright: ignore[reportArgumentType]


def test_pictures_that_rows_share_keep_all_their_features(small: HFPolicy) -> None:
    """Next-token logits of a row are those of transformers' own forward, which sees each row's pictures itself."""
    rollouts, prompts = groups((2, 2))
    drawn = Sampling(temperature=1.0, max_new_tokens=4, seed=1)
    first = answered(rollouts, prompts, small.reply(rollouts, prompts, sampling=drawn))
    asked = [Message("user", (picture(i // 2, side=84), f"find {i}")) for i in range(4)]
    held = answered(first, asked, small.reply(first, asked, sampling=drawn))
    for rollout, scores in zip(held, small.logprobs(held), strict=True):
        pieces = small.codec.encode(rollout, None)
        inputs = collate(small, [pieces], [0])
        logits = small.model(**inputs).logits[0].detach()
        logits[:, small.suppressed] = -torch.inf
        sampled = np.concatenate([np.full(len(piece.token_ids), piece.sampled) for piece in pieces])
        places = torch.as_tensor(np.flatnonzero(sampled))
        expected = logits[places - 1].log_softmax(-1).gather(-1, inputs["input_ids"][0, places][:, None])[:, 0]
        torch.testing.assert_close(scores.detach(), expected, atol=1e-4, rtol=0)


def test_adapters_are_trained_saved_and_read_again(small: HFPolicy, tmp_path: Path) -> None:
    """Fresh ones change nothing; moved ones do, and both the merged weights and the adapter alone give them back."""
    source: Any = small.model.name_or_path
    policy = HFPolicy(source)
    policy.add_lora(2)
    names = [name for name, _ in policy.model.named_parameters() if "lora_B" in name]
    adapted = {name.partition(".lora_B")[0].rpartition(".")[2] for name in names}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    rollouts = two_rounds(small)
    before = torch.cat(small.logprobs(rollouts)).detach()
    scores = torch.cat(policy.logprobs(rollouts))
    torch.testing.assert_close(scores.detach(), before, atol=1e-5, rtol=0)
    scores.sum().backward()
    trained = {name: p.grad for name, p in policy.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert all(grad is not None and (grad.abs().max() > 0 or "lora_A" in name) for name, grad in trained.items())
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.05)
    moved = torch.cat(policy.logprobs(rollouts)).detach()
    assert (moved - before).abs().max() > 1e-3
    policy.save(str(tmp_path))
    for again in (HFPolicy(str(tmp_path)), HFPolicy(source, adapter=str(tmp_path / "adapter"))):
        torch.testing.assert_close(torch.cat(again.logprobs(rollouts)).detach(), moved, atol=1e-4, rtol=0)


def test_a_step_of_grpo(folder: str, tmp_path: Path) -> None:
    """Through `revseg.train`: weights move, what was taught is saved, and the result answers."""
    plan = (("keyframe_terse:size=64", "training_world:found"), ("box_terse:size=32", "training_world:found"))
    model = revseg.ReVSeg(policy=f"hf:model={folder}", plan=plan, num_frames=4, sampler="uniform", rewards=REWARDS)
    revseg.train(model, samples(2), tmp_path, config(steps=1, save_every=1, gradient_checkpointing=True))
    before, after = (load_file(Path(where, "model.safetensors")) for where in (folder, tmp_path))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    trained = HFPolicy(str(tmp_path))
    assert trained.defaults["num_frames"] == 4
    rollouts = [Rollout(picture(0, frames=4, side=64), Query("q", "x"))]
    assert trained.reply(rollouts, [Message("user", (rollouts[0].clip, "x"))], sampling=DRAW)[0].token_ids.size
