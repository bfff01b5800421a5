"""The agent loop's contract with verl's own worker, without Ray: tokens, positions, pictures, rewards, failures."""

# pyright: reportMissingImports=false

import asyncio
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl is not installed here")

import torch
from hf_server import Client
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

import revseg
from revseg.integrations.verl import AGENT_LOOPS
from revseg.integrations.verl.rows import row_of
from revseg.integrations.verl.shared import Shared, shared
from revseg.rollout import ask, hear
from revseg.types import Reply, Rollout

SPEC = "shapes:size=40,split=test"


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    return row_of(revseg.build("dataset", SPEC)[3], 3, SPEC)["extra_info"]


@pytest.fixture(scope="module")
def client(small: str) -> Client:
    return Client(small)


@pytest.fixture
def run(compose: Any, client: Client) -> Any:
    """run(row, n=1, settings=..., overrides) -> (verl's padded outputs, the worker)."""

    def go(row: dict[str, Any], *overrides: str, n: int = 1, settings: Any = None, fail_at: int | None = None) -> Any:
        shared.cache_clear()  # its futures belong to one event loop
        client.calls, client.fail_at = 0, fail_at
        text = json.dumps(json.dumps({"sampling": {"max_new_tokens": 96}, **(settings or {})}))
        where = f"actor_rollout_ref.rollout.agent.agent_loop_config_path={AGENT_LOOPS}"
        config = compose(where, f"+revseg.settings={text}", *overrides)

        async def all_of_them() -> Any:
            worker = AgentLoopWorker(config, client)
            sampling = {"temperature": 1.0, "top_p": 1.0, "logprobs": True}
            trajectory = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}
            options = {"agent_name": "revseg", "trace": False, "raw_prompt": [], "extra_info": row, "global_steps": 1}
            return worker, await asyncio.gather(
                *(worker._run_agent_loop(dict(sampling), trajectory, session_id=i, **options) for i in range(n))
            )

        worker, outputs = asyncio.run(all_of_them())
        return outputs, worker

    return go


def replay(ids: list[int], mask: list[int], scores: list[float], parts: Shared, start: Rollout) -> Rollout:
    """The rollout that a response's tokens tell, by revseg's own steps."""
    rollout, at = start, 0
    while True in (rest := [bool(m) for m in mask[at:]]):
        first = at + rest.index(True)
        end = next((i for i in range(first, len(mask)) if not mask[i]), len(mask))
        asked = ask(parts.model.built_plan, rollout)
        assert asked is not None
        drawn = np.asarray(ids[first:end], np.int64)
        reply = Reply(parts.codec.texts([drawn])[0], drawn, np.asarray(scores[first:end], np.float32), "stop")
        rollout, at = hear(rollout, *asked, reply), end
    return rollout


PLANS: dict[str, Any] = {
    "taught": {},
    "one round": {"plan": [["keyframe_and_box_terse:size=84,ruler=14", "keyframe_and_box_json"]]},
    "per object": {"plan": "per_object"},
    "32 frames": {"num_frames": 32},
}


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_verl_gets_what_revseg_has(run: Any, row: dict[str, Any], small: str, plan: str) -> None:
    outputs, worker = run(row, "data.max_prompt_length=1024", n=3, settings=PLANS[plan])
    found = shared(_settings(PLANS[plan]), small)
    policy: Any = revseg.build("policy", f"hf:model={small},dtype=float32")
    policy.suppressed = []  # verl counts all tokens in its softmax
    sample = revseg.build("dataset", SPEC)[3]
    assert sample.truth is not None
    start = found.model.start(sample)
    for output in outputs:
        ids, mask, scores = output.response_ids[0], output.response_mask[0], output.response_logprobs[0]
        rollout = replay(ids.tolist(), mask.tolist(), scores.tolist(), found, start)
        track = found.codec.trajectory(rollout)
        real = output.attention_mask[0].bool()
        assert output.input_ids[0][real].tolist() == track.token_ids.tolist()
        assert output.position_ids[0, 1:, real].tolist() == track.positions.tolist()
        assert output.position_ids[0, 0, real].tolist() == list(range(len(track.token_ids)))
        responses = slice(worker.rollout_config.prompt_length, None)
        assert output.response_mask[0].bool().tolist() == _padded(track.sampled, real)[responses].tolist()
        scores = torch.cat([s.detach() for s in policy.logprobs([rollout])])
        recorded = output.response_logprobs[0][output.response_mask[0].bool()]
        assert (scores - recorded).abs().max() < 1e-5
        _same_pictures(output.multi_modal_inputs, track.pictures, found.codec)
        judged = found.model.score(rollout, sample.truth)
        assert output.reward_score == judged.total
        info = output.extra_fields["reward_extra_info"]
        assert info == {**judged.values, "failed": rollout.error or ""}


def _settings(plan: dict[str, Any]) -> str:
    return json.dumps({"sampling": {"max_new_tokens": 96}, **plan})


def _padded(values: np.ndarray, real: torch.Tensor) -> torch.Tensor:
    row = torch.zeros(len(real), dtype=torch.bool)
    row[real] = torch.from_numpy(values)
    return row


def _same_pictures(inputs: dict[str, torch.Tensor], blocks: Any, codec: Any) -> None:
    kinds = (("pixel_values", "image_grid_thw", False), ("pixel_values_videos", "video_grid_thw", True))
    for pixels, grids, is_video in kinds:
        some = [block for block in blocks if block.is_video == is_video]
        assert (pixels in inputs) == bool(some)
        if some:
            mine, sizes = codec.pixels(some)
            assert inputs[grids].tolist() == sizes.tolist()
            assert (inputs[pixels] - mine).abs().max() < 1e-5


@pytest.fixture
def fails(run: Any) -> Any:
    """fails(row, overrides) -> the output of one rollout of verl's worker, which has to have a reason."""

    def go(row: dict[str, Any], *overrides: str, **options: Any) -> Any:
        (output,), worker = run(row, *overrides, **options)
        info = output.extra_fields["reward_extra_info"]
        assert set(info) == {"format", "temporal", "spatial", "failed"}
        assert info["failed"]
        assert output.extra_fields["min_global_steps"] is not None
        limits = worker.rollout_config
        assert output.input_ids.shape == (1, limits.prompt_length + limits.response_length)
        return output

    return go


@pytest.mark.slow
def test_a_failure_keeps_its_place(fails: Any, row: dict[str, Any], tmp_path: Any) -> None:
    """Reward 0, the reason, and no token to learn from."""
    place = json.loads(row["video"])
    gone = {**row, "video": json.dumps({**place, "reader": {"file": str(tmp_path / "gone.mp4")}})}
    cases = [
        (fails(gone), "VideoError"),
        (fails(row, "data.max_prompt_length=100"), "raise data.max_prompt_length=100"),
        (fails(row, fail_at=0), "ConnectionError: the server is gone"),
        (fails({"index": 0}), "InputError"),
    ]
    for output, reason in cases:
        assert reason in output.extra_fields["reward_extra_info"]["failed"]
        assert output.reward_score == 0
        assert not output.response_mask.any()
        assert int(output.attention_mask.sum()) == 2  # one token of a prompt, one of a response
        assert not [name for name in output.multi_modal_inputs if name.startswith("pixel")]


@pytest.mark.slow
def test_a_server_that_fails_in_the_second_round(fails: Any, row: dict[str, Any]) -> None:
    """The tokens so far stay, with their pictures, but nothing is learned from them."""
    output = fails(row, fail_at=1)
    assert "the server is gone" in output.extra_fields["reward_extra_info"]["failed"]
    assert output.reward_score == 0
    assert not output.response_mask.any()
    assert {"pixel_values", "pixel_values_videos"} <= set(output.multi_modal_inputs)
    assert output.num_turns == 3


@pytest.mark.slow
def test_no_room_for_the_next_question(fails: Any, row: dict[str, Any], compose: Any) -> None:
    """The conversation ends before its picture is added, and is judged as far as it came."""
    output = fails(row, "data.max_response_length=60", settings={"sampling": {"max_new_tokens": 59}})
    info = output.extra_fields["reward_extra_info"]
    assert info["failed"] == "over_budget"
    assert output.num_turns == 2
    assert output.response_mask.any()
    assert info["format"] == 0.5
    assert output.reward_score == info["format"] + info["temporal"] + info["spatial"]
    assert "pixel_values" not in output.multi_modal_inputs
