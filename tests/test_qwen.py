"""The `hf` policy on a tiny randomly initialised Qwen2.5-VL and Qwen3-VL, loaded as any checkpoint is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_qwen3 import SUPPORTED, save_tiny

from revseg.errors import InputError
from revseg.policies.hf.codecs.qwen2_5_vl import Qwen25VL
from revseg.policies.hf.generation import choose, token_logprobs
from revseg.policies.hf.inputs import collate
from revseg.policies.hf.policy import HFPolicy
from revseg.testing import check_policy
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Sampling, Target, Turn

TERSE = (("keyframe_terse:size=56", "keyframe_json"), ("box_terse:size=84", "box_json"))
DRAW = Sampling(temperature=1.0, max_new_tokens=10, seed=3)
FAMILIES = ("qwen2_5_vl", pytest.param("qwen3_vl", marks=SUPPORTED))


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(request.param, tmp_path_factory.mktemp("tiny"), defaults={"num_frames": 4, "plan": TERSE})


@pytest.fixture(scope="module")
def policy(folder: str) -> HFPolicy:
    return HFPolicy(folder)


def picture(seed: int, frames: int = 1, side: int = 56) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(rng.integers(0, 256, (frames, side, side, 3), np.uint8), np.arange(frames))


def groups(sizes: tuple[int, ...] = (3, 3, 2)) -> tuple[list[Rollout], list[Message]]:
    """Conversations about clips of several lengths, each in a group that shares its start and its prompt."""
    rollouts, prompts = [], []
    for seed, size in enumerate(sizes):
        clip = picture(seed, frames=5 + 3 * seed)
        start = Rollout(clip, Query(f"q{seed}", "where " * (seed + 1)))
        message = Message("user", (clip, start.query.text))
        rollouts += [start] * size
        prompts += [message] * size
    return rollouts, prompts


def answered(rollouts: list[Rollout], prompts: list[Message], replies: list[Reply]) -> list[Rollout]:
    turns = [Turn(p, r, Answer((Target(0, "red"),)), p.clips[-1]) for p, r in zip(prompts, replies, strict=True)]
    return [Rollout(r.clip, r.query, (*r.turns, t)) for r, t in zip(rollouts, turns, strict=True)]


def second_prompts(count: int) -> list[Message]:
    """Of uneven lengths, each with a picture of its own."""
    return [Message("user", (picture(100 + i, side=84), "find " + "it " * i)) for i in range(count)]


def two_rounds(policy: HFPolicy, sampling: Sampling = DRAW) -> list[Rollout]:
    rollouts, prompts = groups()
    first = answered(rollouts, prompts, policy.reply(rollouts, prompts, sampling=sampling))
    asked = second_prompts(len(first))
    return answered(first, asked, policy.reply(first, asked, sampling=sampling))


def test_rollout_logprobs_are_the_recomputed_ones(policy: HFPolicy) -> None:
    """Left padding, uneven replies, a group's shared prefix and the cache between the rounds change nothing."""
    rollouts = two_rounds(policy)
    recorded = [np.concatenate([t.reply.logprobs for t in r.turns]) for r in rollouts]
    assert len({len(r.turns[0].reply.token_ids) for r in rollouts}) > 1, "the case wants uneven replies"
    for some in (rollouts, rollouts[::-1], rollouts[4:5]):
        for rollout, scores in zip(some, policy.logprobs(some), strict=True):
            expected = recorded[next(i for i, r in enumerate(rollouts) if r is rollout)]
            np.testing.assert_allclose(scores.detach().numpy(), expected, atol=1e-4)


def test_logprobs_at_another_temperature(policy: HFPolicy) -> None:
    rollouts = two_rounds(policy, Sampling(temperature=0.5, max_new_tokens=6, seed=1))
    for rollout, scores in zip(rollouts, policy.logprobs(rollouts, temperature=0.5), strict=True):
        expected = np.concatenate([t.reply.logprobs for t in rollout.turns])
        np.testing.assert_allclose(scores.detach().numpy(), expected, atol=1e-4)


def test_cache_and_neighbours_change_no_token(policy: HFPolicy, folder: str) -> None:
    together = two_rounds(policy)
    alone = HFPolicy(folder, reuse=False, batch_size=1)
    for number, rollout in enumerate(together):
        for index, turn in enumerate(rollout.turns):
            before = Rollout(rollout.clip, rollout.query, rollout.turns[:index])
            # a group's rows differ by their place among equals, so the group is asked again up to this row
            place = [r for r in together[:number] if same_start(r, rollout, index)]
            again = alone.reply([before] * (len(place) + 1), [turn.prompt] * (len(place) + 1), sampling=DRAW)[-1]
            assert again.token_ids.tolist() == turn.reply.token_ids.tolist()
            np.testing.assert_allclose(again.logprobs, turn.reply.logprobs, atol=1e-4)


def same_start(a: Rollout, b: Rollout, index: int) -> bool:
    if a.query != b.query:
        return False
    earlier = [(x.reply.text, y.reply.text) for x, y in zip(a.turns[:index], b.turns[:index], strict=True)]
    return all(x == y for x, y in earlier) and a.turns[index].prompt.text == b.turns[index].prompt.text


def test_a_group_holds_its_prompt_once(policy: HFPolicy, folder: str) -> None:
    """Both rounds draw what a policy draws that copies the prompt for every row, and keep less for the next round."""
    stock = HFPolicy(folder, attention="eager")
    texts, kept = [], []
    for one in (policy, stock):
        one.forget()
        rollouts, prompts = groups()
        first = answered(rollouts, prompts, one.reply(rollouts, prompts, sampling=DRAW))
        session = one._sessions._kept[0]
        held = [*session.cache.layers, *(() if session.common is None else session.common.layers)]
        tensors = [(part.keys, part.values) if hasattr(part, "keys") else part for part in held]
        kept.append(sum(t.numel() for pair in tensors for t in pair))
        some = [first[i] for i in (7, 0, 1, 4)]  # the others have ended
        replies = one.reply(some, second_prompts(4), sampling=DRAW)
        texts.append([r.turns[0].reply.text for r in first] + [reply.text for reply in replies])
    assert texts[0] == texts[1]
    assert kept[0] < 0.6 * kept[1]


def test_a_group_draws_different_replies_and_a_seed_the_same(policy: HFPolicy) -> None:
    first, again = two_rounds(policy), two_rounds(policy)
    texts = [[t.reply.text for t in r.turns] for r in first]
    assert texts == [[t.reply.text for t in r.turns] for r in again]
    assert len({text[0] for text in texts[:3]}) > 1
    other = two_rounds(policy, Sampling(temperature=1.0, max_new_tokens=10, seed=4))
    assert texts != [[t.reply.text for t in r.turns] for r in other]


def test_greedy_equals_transformers_generate(policy: HFPolicy) -> None:
    rollouts, prompts = groups((1, 1, 1))
    greedy = Sampling(max_new_tokens=8)
    for rollout, prompt in zip(rollouts, prompts, strict=True):
        (reply,) = policy.reply([rollout], [prompt], sampling=greedy)
        inputs = collate(policy, [policy.codec.encode(rollout, prompt)], [0])
        out = policy.model.generate(  # pyright: ignore[reportCallIssue]
            **inputs, max_new_tokens=8, do_sample=False, suppress_tokens=policy.suppressed
        )
        expected = out[0, inputs["input_ids"].shape[1] :].tolist()
        assert reply.token_ids.tolist() == expected


def test_patches_are_those_of_the_official_processor(policy: HFPolicy) -> None:
    clip, still = picture(1, frames=7), picture(2, side=84)
    prompt = Message("user", (clip, "a", still, "b"))
    start = Rollout(clip, Query("q", "x"))
    inputs = collate(policy, [policy.codec.encode(start, prompt)], [0])
    frames = torch.as_tensor(clip.frames).permute(0, 3, 1, 2)
    processor = policy.processor
    # an option since transformers 5.16, which warns when it is not given
    options = {"cap_pixels_per_frame": False} if hasattr(processor.video_processor, "cap_pixels_per_frame") else {}
    video = processor.video_processor(frames, do_resize=False, do_sample_frames=False, return_tensors="pt", **options)
    image = processor.image_processor(still.frames[0], do_resize=False, return_tensors="pt")
    torch.testing.assert_close(inputs["pixel_values_videos"], video["pixel_values_videos"])
    torch.testing.assert_close(inputs["pixel_values"], image["pixel_values"])
    assert inputs["video_grid_thw"].tolist() == video["video_grid_thw"].tolist() == [[4, 4, 4]]
    assert inputs["image_grid_thw"].tolist() == image["image_grid_thw"].tolist() == [[1, 6, 6]]


def test_windows_batched_equal_windows_one_by_one(folder: str) -> None:
    rollouts, prompts = groups()
    plain, batched = HFPolicy(folder, attention="eager"), HFPolicy(folder)
    greedy = Sampling(max_new_tokens=5)
    ours = batched.reply(rollouts, prompts, sampling=greedy)
    for a, b in zip(plain.reply(rollouts, prompts, sampling=greedy), ours, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_second_prompt_continues_the_sampled_tokens(policy: HFPolicy) -> None:
    """The conversation is one sequence: prompt, the very tokens drawn, one end of message, next prompt."""
    rollouts, prompts = groups((1,))
    ended = np.array([5, 6, policy.codec.end_id])
    for ids in (ended, ended[:2]):  # a reply that ended by itself, and one cut off at the limit
        (first,) = answered(rollouts, prompts, [Reply("x", ids, np.zeros(len(ids), np.float32))])
        pieces = policy.codec.encode(first, second_prompts(1)[0])
        tokens = np.concatenate([p.token_ids for p in pieces]).tolist()
        assert pieces[1].token_ids.tolist() == ids.tolist()
        start = len(pieces[0].token_ids)
        assert tokens[start : start + 4] == [5, 6, policy.codec.end_id, tokens[start + 3]]
        assert tokens[start + 3] != policy.codec.end_id
        rows, _ = policy.codec.positions(pieces)
        assert rows.shape == (3, len(tokens))


def test_pictures_must_fit_the_patches(policy: HFPolicy) -> None:
    clip = picture(0, side=60)
    with pytest.raises(InputError, match=r"multiples of 28.*60x60.*size=56"):
        policy.reply([Rollout(clip, Query("q", "x"))], [Message("user", (clip, "x"))], sampling=Sampling())


def test_placeholder_in_the_query_is_refused(policy: HFPolicy) -> None:
    clip = picture(0)
    with pytest.raises(InputError, match="placeholder"):
        policy.reply([Rollout(clip, Query("q", "x"))], [Message("user", (clip, "<|image_pad|>"))], sampling=Sampling())


def test_never_draws_a_picture_token(policy: HFPolicy) -> None:
    assert len(policy.suppressed) == (5 if isinstance(policy.codec, Qwen25VL) else 4)
    rollouts = two_rounds(policy, Sampling(temperature=50.0, max_new_tokens=30, seed=0))
    drawn = {int(i) for r in rollouts for t in r.turns for i in t.reply.token_ids}
    assert not drawn & set(policy.suppressed)


def test_defaults_and_save(policy: HFPolicy, tmp_path: Path) -> None:
    assert policy.defaults["num_frames"] == 4
    policy.save(str(tmp_path))
    again = HFPolicy(str(tmp_path))
    assert again.defaults == policy.defaults
    rollouts, prompts = groups()
    for a, b in zip(*(p.reply(rollouts, prompts, sampling=DRAW) for p in (policy, again)), strict=True):
        assert a.text == b.text


def test_missing_model_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a hub name|Expected a hub name"):
        HFPolicy(str(tmp_path / "nowhere"))


def test_adapter_folder(policy: HFPolicy, folder: str, tmp_path: Path) -> None:
    """A LoRA folder written by peft changes the log-probs; a fresh one (B = 0) does not."""
    from peft import LoraConfig, get_peft_model

    base = HFPolicy(folder)
    peft = get_peft_model(base.model, LoraConfig(r=2, target_modules=["q_proj"]))  # pyright: ignore[reportArgumentType]
    peft.save_pretrained(str(tmp_path / "fresh"))
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.5)
    peft.save_pretrained(str(tmp_path / "moved"))
    rollouts = two_rounds(policy)
    expected = torch.cat(policy.logprobs(rollouts)).detach()
    fresh, moved = (HFPolicy(folder, adapter=str(tmp_path / name)) for name in ("fresh", "moved"))
    torch.testing.assert_close(torch.cat(fresh.logprobs(rollouts)).detach(), expected, atol=1e-5, rtol=0)
    assert (torch.cat(moved.logprobs(rollouts)).detach() - expected).abs().max() > 1e-3


def test_conformance(policy: HFPolicy) -> None:
    check_policy(policy, plan=TERSE)


def test_choose_inverts_the_distribution() -> None:
    """By hand: probabilities 0.2, 0.5, 0.3 and where the uniform falls."""
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log().expand(5, -1)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.999], dtype=torch.float64)
    assert choose(logits, uniform, Sampling(temperature=1.0)).tolist() == [0, 0, 1, 1, 2]
    assert choose(logits, uniform, Sampling(temperature=0.0)).tolist() == [1] * 5
    assert choose(logits, uniform, Sampling(temperature=1.0, top_k=1)).tolist() == [1] * 5
    # top_p 0.6 keeps tokens 1 and 2 (0.5 of 0.8 and the rest), likeliest first
    assert choose(logits, uniform, Sampling(temperature=1.0, top_p=0.6)).tolist() == [1, 1, 1, 2, 2]


def test_token_logprobs_by_hand() -> None:
    logits = torch.tensor([[0.0, np.log(3.0)]])
    torch.testing.assert_close(token_logprobs(logits, torch.tensor([1]), 1.0), torch.tensor([0.75]).log())
    torch.testing.assert_close(token_logprobs(logits, torch.tensor([1]), 0.5), torch.tensor([0.9]).log())


def test_replies_say_why_they_ended(policy: HFPolicy) -> None:
    for limit in (1, 4, 10):
        replies = policy.reply(*groups(), sampling=Sampling(temperature=1.0, max_new_tokens=limit, seed=3))
        for reply in replies:
            ended = int(reply.token_ids[-1]) in policy.stops
            assert (reply.finish_reason, reply.cut_off) == (("stop", False) if ended else ("length", True))
    assert {reply.finish_reason for reply in two_rounds(policy)[0].turns[0].reply and replies} == {"stop", "length"}


def test_a_template_that_opens_the_thinking_is_told(policy: HFPolicy) -> None:
    assert policy.codec.opened == ""
    template = policy.processor.chat_template
    processor, config = policy.processor, policy.model.config
    for end in ("<think>", "<think>\n"):
        processor.chat_template = template + "{% if add_generation_prompt %}" + end + "{% endif %}"
        try:
            opened = type(policy.codec)(processor, config).opened
        finally:
            processor.chat_template = template
        assert opened == "<think>"
