"""Group rollouts, n = 8, both rounds at the paper's sizes: ours against transformers' `generate` a sample and a round.

    python benchmarks/speed/rollouts.py --out benchmarks/results/speed/rollouts.json

The model is random; its sizes are options. The baseline is stock transformers, without a cache between the rounds or
among the group; it is given our positions, because its own differ (see revseg/policies/hf/mrope.py). Both decode
greedily, and every reply has the same number of tokens. The group's second prompts show eight different frames in one
row of the table, four, and one in the others: as many as there are of samples that disagree about the keyframe.
"""

import tempfile
from types import SimpleNamespace
from typing import Any

import measure
import numpy as np

N = 8


def save_model(folder: str, given: Any) -> None:
    from revseg.shapes.small_model import build_model, build_processor

    processor = build_processor(["where is the red square that moves to the left?"] * 9, size=given.keyframe)
    shape = {"hidden": given.hidden, "layers": given.layers, "heads": given.heads}
    model = build_model(processor, **shape, vision_hidden=given.vision, vision_depth=given.depth)
    model.config.vision_config.fullatt_block_indexes = [given.depth - 1]  # windows in the others, as in the 7B
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def start(given: Any) -> Any:
    from revseg.types import Clip, Query, Rollout

    frames = np.random.default_rng(0).integers(0, 256, (given.frames, 32, 32, 3), np.uint8)
    smooth = frames.repeat(8, 1).repeat(8, 2)
    return Rollout(Clip(smooth, np.arange(given.frames)), Query("q", "where is the red square?"))


def hold(reply: Any, given: Any) -> list[Any]:
    """Both rounds with a group, where `reply(rollouts, messages)` answers; the group's n rollouts."""
    from dataclasses import replace

    from revseg.rollout.prompts import box, keyframe
    from revseg.types import Answer, Target, Turn

    begun = start(given)
    message, rows = keyframe(begun, size=given.size), [begun] * N
    for number in range(2):
        asked = [message] * N if number == 0 else [box(row, size=given.keyframe) for row in rows]
        replies = reply(rows, asked)
        answers = [Answer((Target(i % given.frames % given.pictures, "the red square"),)) for i in range(N)]
        turns = [Turn(*row, row[0].clips[-1]) for row in zip(asked, replies, answers, strict=True)]
        rows = [replace(row, turns=(*row.turns, turn)) for row, turn in zip(rows, turns, strict=True)]
    return rows


class Ours:
    def __init__(self, folder: str, given: Any) -> None:
        from revseg.policies.hf.policy import HFPolicy
        from revseg.types import Sampling

        self.given, self.sampling = given, Sampling(max_new_tokens=given.tokens)
        self.policy = HFPolicy(folder, device=given.device, dtype=given.dtype)
        self.policy.stops = []
        self.policy.suppressed.append(self.policy.codec.end_id)

    def __call__(self) -> list[Any]:
        rows = hold(lambda r, m: self.policy.reply(r, m, sampling=self.sampling), self.given)
        self.policy.forget()
        return rows


class Baseline:
    """One `generate` a row and round; every prompt encoded and read from its beginning."""

    def __init__(self, folder: str, ours: Ours) -> None:
        from transformers import Qwen2_5_VLForConditionalGeneration

        policy = ours.policy
        model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=policy.model.dtype)
        self.model, self.ours, self.processor = model.to(policy.model.device).eval(), ours, policy.processor

    def __call__(self) -> list[Any]:
        return hold(lambda r, m: [self.reply(*row) for row in zip(r, m, strict=True)], self.ours.given)

    def reply(self, rollout: Any, message: Any) -> Any:
        from revseg.policies.hf.codecs.qwen2_5_vl import Qwen25VL
        from revseg.policies.hf.inputs import collate
        from revseg.types import Reply

        codec = Qwen25VL(self.processor, self.model.config)  # a new one: it would remember the group's prompt
        policy = SimpleNamespace(codec=codec, model=self.model)
        inputs = collate(policy, [codec.encode(rollout, message)], [0])
        tokens, suppressed = self.ours.given.tokens, self.ours.policy.suppressed
        out = self.model.generate(
            **inputs, max_new_tokens=tokens, do_sample=False, suppress_tokens=suppressed, eos_token_id=None
        )
        ids = out[0, inputs["input_ids"].shape[1] :].cpu().numpy()
        return Reply(self.processor.tokenizer.decode(ids), ids)


class Logits:
    """Keeps what a model's output layer gave for the last position, call by call: float32[b v] each."""

    def __init__(self, model: Any) -> None:
        self.seen: list[Any] = []
        self.hook = model.get_output_embeddings().register_forward_hook(self)

    def __call__(self, module: Any, inputs: Any, output: Any) -> None:
        self.seen.append(output[:, -1].float().cpu())


def largest_difference(ours: Ours, baseline: Baseline, suppressed: list[int]) -> tuple[bool, float]:
    """Whether all tokens are the same, and the largest difference of the logits from which they were chosen."""
    import torch

    taps = Logits(ours.policy.model), Logits(baseline.model)
    mine, theirs = ours(), baseline()
    same = all(
        np.array_equal(a.reply.token_ids, b.reply.token_ids)
        for x, y in zip(mine, theirs, strict=True)
        for a, b in zip(x.turns, y.turns, strict=True)
    )
    for tap in taps:
        tap.hook.remove()
    length = ours.given.tokens
    grouped = torch.stack([step.expand(N, -1) for step in taps[0].seen])  # [2 tokens, n, v]
    alone = torch.cat(taps[1].seen).reshape(2, N, length, -1).permute(0, 2, 1, 3).reshape(grouped.shape)
    allowed = [i for i in range(grouped.shape[-1]) if i not in suppressed]
    return same, float((grouped - alone)[..., allowed].abs().max())


def options() -> Any:
    parser = measure.arguments(__doc__)
    sizes = {"frames": 16, "size": 448, "keyframe": 840, "tokens": 64, "turns": 3}
    parser.add_argument("--keyframes", type=int, nargs="+", default=[8, 4, 1])
    shape = {"hidden": 256, "layers": 6, "heads": 4, "vision": 128, "depth": 4}
    for name, value in (sizes | shape).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    if given.small:
        small = {"frames": 4, "size": 56, "keyframe": 84, "tokens": 4, "turns": 1, "hidden": 64, "layers": 2}
        vars(given).update(small, heads=2, vision=64, depth=2)
    return given


def main() -> None:
    import torch

    given = options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, given)
        ours = Ours(folder, given)
        baseline = Baseline(folder, ours)
    rows = []
    for pictures in given.keyframes:
        given.pictures = pictures
        with torch.inference_mode():
            rows.append(compared(ours, baseline, given))
    measure.report(rows, given.out)


def compared(ours: Ours, baseline: Baseline, given: Any) -> dict[str, Any]:
    same, gap = largest_difference(ours, baseline, ours.policy.suppressed)
    clock = {} if given.device == "cpu" else {"clock": synchronised}
    times = measure.take_turns(ours, baseline, turns=given.turns, **clock)
    shape = {name: getattr(given, name) for name in ("frames", "size", "keyframe", "tokens", "hidden", "layers")}
    return {
        "what": f"group rollouts, n = {N}, both rounds, {given.frames} frames at {given.size}, keyframe "
        f"{given.keyframe}, {given.tokens} tokens a reply, {given.pictures} different keyframes",
        **times,
        "target": 4,
        "same_tokens": same,
        "largest_difference": gap,
        "equal": same and gap <= 1e-4,
        "shape": {**shape, "parameters": sum(p.numel() for p in ours.policy.model.parameters())},
        "device": given.device,
    }


def synchronised() -> float:
    import time

    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
