"""A server of replies for tests on a CPU: a model of transformers, tokens in, tokens out, processed as verl does."""

# pyright: reportMissingImports=false

import asyncio
import hashlib
from typing import Any

import numpy as np
import ray
import torch
from verl.utils.tokenizer import build_multimodal_processor_inputs
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from revseg.integrations.verl.positions import positions_of
from revseg.policies.hf.loading import load_codec


class Answers:
    """The model, with the weights that it was given last."""

    def __init__(self, path: str) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        torch.set_num_threads(1)
        self.model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(path)
        self.codec: Any = load_codec(path)
        self.steps: int | None = 0

    @torch.inference_mode()
    def __call__(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: Any = None,
        video_data: Any = None,
        mm_processor_kwargs: Any = None,
        **_: Any,
    ) -> TokenOutput:
        """Draws depend on the request's name and the prompt's length alone."""
        inputs = build_multimodal_processor_inputs(
            self.processor, text=["x"], images=image_data, videos=video_data, mm_processor_kwargs=mm_processor_kwargs
        )
        media = {k: v for k, v in dict(inputs).items() if k.startswith(("pixel", "image_grid", "video_grid"))}
        sizes = [media[k].tolist() if k in media else [] for k in ("image_grid_thw", "video_grid_thw")]
        places = torch.from_numpy(positions_of(prompt_ids, self.codec, *sizes))
        where = torch.cat([torch.arange(len(prompt_ids))[None], places])[:, None]
        seed = hashlib.blake2b(f"{request_id}/{len(prompt_ids)}".encode(), digest_size=4).hexdigest()
        rng, start = np.random.default_rng(int(seed, 16)), int(places.max()) + 1
        out = self.model(input_ids=torch.tensor([prompt_ids]), position_ids=where, use_cache=True, **media)
        tokens: list[int] = []
        scores: list[float] = []
        while True:
            token, score = self._draw(out.logits[0, -1].float(), sampling_params["temperature"], rng)
            tokens.append(token)
            scores.append(score)
            if token in self.codec.stops or len(tokens) >= sampling_params["max_tokens"]:
                break
            where = torch.full((4, 1, 1), start + len(tokens) - 1)
            cache = out.past_key_values
            out = self.model(
                input_ids=torch.tensor([[token]]), position_ids=where, past_key_values=cache, use_cache=True
            )
        logprobs = scores if sampling_params.get("logprobs") else None
        return TokenOutput(
            token_ids=tokens, log_probs=logprobs, stop_reason="completed", extra_fields={"global_steps": self.steps}
        )

    def _draw(self, logits: torch.Tensor, temperature: float, rng: np.random.Generator) -> tuple[int, float]:
        """A token and its log-prob among all tokens; placeholders are not drawn, as in vLLM."""
        full = logits.log_softmax(-1)
        logits[[self.codec.config.image_token_id, self.codec.config.video_token_id]] = -torch.inf
        if temperature > 0:
            mass = (logits / temperature).softmax(-1).double().cumsum(-1)
            token = int((mass <= rng.random() * mass[-1]).sum().clamp(max=len(mass) - 1))
        else:
            token = int(logits.argmax())
        return token, float(full[token])


class Client:
    """verl's client of servers without Ray, for tests of the agent loop alone. `spoil` raises errors by request."""

    def __init__(self, path: str) -> None:
        self.answers, self.calls = Answers(path), 0
        self.fail_at: int | None = None  # the call that raises

    async def generate(self, request_id: str, **options: Any) -> TokenOutput:
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            raise ConnectionError("the server is gone")
        found = self.answers(request_id, **options)
        steps = found.extra_fields["global_steps"]
        found.extra_fields.update(min_global_steps=steps, max_global_steps=steps)
        return found


def server_name(rank: int) -> str:
    return f"hf_server_{rank}"


@ray.remote
class HFServer:
    """`Answers` in a process of its own, and what verl calls of a server."""

    def __init__(self, path: str) -> None:
        self.answers, self.lock = Answers(path), asyncio.Lock()

    async def generate(self, request_id: str, **options: Any) -> TokenOutput:
        async with self.lock:
            return await asyncio.to_thread(self.answers, request_id, **options)

    async def load(self, weights: dict[str, torch.Tensor], steps: int) -> tuple[list[str], list[str]]:
        async with self.lock:
            found = self.answers.model.load_state_dict(weights, strict=False)
            self.answers.steps = steps
            return list(found.missing_keys), list(found.unexpected_keys)

    async def nothing(self, *_: Any, **__: Any) -> None: ...

    wake_up = sleep = clear_kv_cache = release_kv_cache = resume_kv_cache = nothing
    abort_all_requests = resume_generation = nothing


class HFReplica(RolloutReplica):
    """One server per rank."""

    async def launch_servers(self) -> None:
        options = {"name": server_name(self.replica_rank), "num_cpus": 0, "max_concurrency": 100}
        self.servers = [HFServer.options(**options).remote(self.model_config.path)]  # pyright: ignore[reportAttributeAccessIssue]
        self._server_handle, self._server_address = self.servers[0], f"hf:{self.replica_rank}"


class HFAdapter(BaseRollout):
    """The trainer's side: each rank gives its server the whole state."""

    async def resume(self, tags: list[str]) -> None: ...

    async def release(self) -> None: ...

    async def update_weights(self, weights: Any, global_steps: int | None = None, **_: Any) -> None:
        state = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}  # all ranks gather
        server = ray.get_actor(server_name(torch.distributed.get_rank()))
        missing, unexpected = await server.load.remote(state, global_steps)
        if unexpected or [name for name in missing if "lm_head" not in name]:
            raise RuntimeError(f"weight sync: missing {missing[:5]}, unexpected {unexpected[:5]}")
