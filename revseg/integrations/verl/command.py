"""One configuration of `revseg train` as the command that starts the same run in verl.

Every setting of `TrainConfig` is translated or refused by a sentence: none is dropped. Options of verl whose defaults
would change the method are set in any case (`METHOD`).
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.integrations.verl import AGENT_LOOPS
from revseg.integrations.verl.objective import objective_options
from revseg.integrations.verl.shared import frame_rate, model_option
from revseg.pipeline import ReVSeg
from revseg.policies.checkpoints import folder_of
from revseg.training.config import TrainConfig

START = ("python3", "-m", "verl.trainer.main_ppo")
ACTOR, REF, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout", "model"))


@dataclass(frozen=True)
class Machines:
    """Where the run takes place, and how much room its conversations have; `TrainConfig` has no such settings.

    `prompt_tokens` is the most of the first question with its clip; `response_tokens` that of all replies together with
    the later questions and their pictures. The paper's run needs about 2,400 and 3,000.
    """

    gpus: int = 8  # per node
    nodes: int = 1
    prompt_tokens: int = 3072
    response_tokens: int = 3072


METHOD: Mapping[str, Any] = {
    "algorithm.use_kl_in_reward": False,
    "data.filter_overlong_prompts": False,  # it would count the text without the clip
    "data.truncation": "error",
    f"{ACTOR}.strategy": "fsdp2",
    f"{ACTOR}.entropy_coeff": 0,
    f"{ACTOR}.shuffle": False,
    f"{ACTOR}.optim.lr_scheduler_type": "constant",
    f"{ACTOR}.optim.betas": [0.9, 0.95],
    f"{ROLLOUT}.mode": "async",
    f"{ROLLOUT}.top_k": -1,
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.calculate_log_probs": True,
    "trainer.use_v1": True,
    "trainer.val_before_train": False,
    "trainer.test_freq": -1,
}
"""Options of verl whose defaults are another method, or that could be changed by a later release's defaults."""


def overrides(
    model: ReVSeg, config: TrainConfig, rows: str | Path, out: str | Path, machines: Machines | None = None
) -> dict[str, Any]:
    """verl's options for a run of `revseg train`. InputError, with the reason, for what verl cannot follow."""
    machines = machines or Machines()
    options = {**METHOD, **_model(model, config), **_places(Path(rows), Path(out), config), **_sizes(config, machines)}
    for field in fields(TrainConfig):
        value = getattr(config, field.name)
        if field.name in TRANSLATED:
            options.update(TRANSLATED[field.name](value))
        elif value != field.default:
            raise InputError(f"verl cannot follow {field.name}={value!r}: {REFUSED[field.name]}")
    return options


def command(options: Mapping[str, Any]) -> str:
    """The shell command, an option per line."""
    return " \\\n  ".join([shlex.join(START), *map(shlex.quote, written(options))])


def written(options: Mapping[str, Any]) -> list[str]:
    """The options as arguments of verl's `main_ppo`."""
    return [f"{name}={_text(value)}" for name, value in options.items()]


TRANSLATED: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "steps": lambda v: {"trainer.total_training_steps": v, "trainer.total_epochs": 1_000_000},
    "queries_per_step": lambda v: {"data.train_batch_size": v, f"{ACTOR}.ppo_mini_batch_size": v},
    "group_size": lambda v: {f"{ROLLOUT}.n": v},
    "updates_per_batch": lambda v: {f"{ACTOR}.ppo_epochs": v},
    "objective": objective_options,
    "lr": lambda v: {f"{ACTOR}.optim.lr": v},
    "weight_decay": lambda v: {f"{ACTOR}.optim.weight_decay": v},
    "grad_clip": lambda v: {f"{ACTOR}.optim.clip_grad": v},
    "temperature": lambda v: {f"{ROLLOUT}.temperature": v},
    "top_p": lambda v: {f"{ROLLOUT}.top_p": v},
    "max_new_tokens": lambda v: {},  # of each reply: in revseg.settings, see `_model`
    "max_tokens_per_forward": lambda v: {
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": v,
        f"{ROLLOUT}.log_prob_use_dynamic_bsz": True,
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu": v,
        f"{REF}.log_prob_use_dynamic_bsz": True,
        f"{REF}.log_prob_max_token_len_per_gpu": v,
    },
    "bf16": lambda v: _precision("bf16" if v else "fp32"),
    "gradient_checkpointing": lambda v: {f"{MODEL}.enable_gradient_checkpointing": v},
    "reference": lambda v: {f"{REF}.fsdp_config.param_offload": v == "cpu"},
    "save_every": lambda v: {"trainer.save_freq": v},
    "log_with": lambda v: {"trainer.logger": ["console", "file", *([] if v is None else [v])]},
    "seed": lambda v: {"data.shuffle": True, "data.seed": v, f"{ROLLOUT}.seed": v},
}
REFUSED: Mapping[str, str] = {
    "warmup": "its first step has rate 0, ours lr/warmup: leave warmup at 0",
    "lr_decay": "it knows constant and cosine, not a linear decay: set lr_decay=false",
    "optimizer": "Muon is not among its optimizers for FSDP: use adamw",
    "lora_rank": "its adapters lie on other layers than ours, and have not been compared: leave lora_rank at 0",
    "freeze_vision": "0.9.1 has freeze_vision_tower, but nothing reads it: set freeze_vision=false",
    "samples_every": "it writes the rollouts of every step: leave samples_every out",
    "prefetch": "its workers decode clips on their own: leave prefetch out",
    "clip_cache": "its workers keep no clips on a disk: leave clip_cache out",
    "clip_cache_gb": "its workers keep no clips on a disk: leave clip_cache_gb out",
    "check_memory": "our estimate is for one process with all weights, not for sharded ones: leave check_memory out",
}


def _model(model: ReVSeg, config: TrainConfig) -> dict[str, Any]:
    """The weights, and all settings of the conversation, resolved, for the agent loop."""
    model = model.replace(sampling=replace(model.sampling, max_new_tokens=config.max_new_tokens)).resolved()
    path = folder_of(model_option(model))
    settings = {name: value for name, value in model.to_dict().items() if name != "tracker"}
    settings["policy"] = {"name": "hf", "model": path, "fps": frame_rate(model)}
    return {
        f"{MODEL}.path": path,
        f"{ROLLOUT}.agent.agent_loop_config_path": AGENT_LOOPS,
        f"{ROLLOUT}.agent.default_agent_loop": "revseg",
        "+revseg.settings": json.dumps(settings),
    }


def _places(rows: Path, out: Path, config: TrainConfig) -> dict[str, Any]:
    return {
        "data.train_files": str(rows.absolute()),
        "data.val_files": str(rows.absolute()),  # has to be given; nothing is validated
        "trainer.default_local_dir": str(out.absolute()),
        "trainer.rollout_data_dir": str(out.absolute() / "rollouts"),
        "trainer.project_name": "revseg",
        "trainer.experiment_name": out.name,
        f"{ACTOR}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
    }


def _sizes(config: TrainConfig, machines: Machines) -> dict[str, Any]:
    longest = machines.prompt_tokens + machines.response_tokens
    if longest > config.max_tokens_per_forward:
        raise InputError(
            f"a conversation of {machines.prompt_tokens} + {machines.response_tokens} tokens does not fit "
            f"max_tokens_per_forward={config.max_tokens_per_forward}: raise it to {longest}, or shorten the two"
        )
    return {
        "data.max_prompt_length": machines.prompt_tokens,
        "data.max_response_length": machines.response_tokens,
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.max_model_len": longest,
        f"+{ROLLOUT}.engine_kwargs.vllm.limit_mm_per_prompt": {"image": 16, "video": 1},
        f"{ROLLOUT}.agent.num_workers": machines.gpus * machines.nodes,
        "trainer.n_gpus_per_node": machines.gpus,
        "trainer.nnodes": machines.nodes,
    }


def _precision(dtype: str) -> dict[str, Any]:
    """bf16 or fp32 of every forward; trained weights stay in float32. Packing needs flash-attn, which needs bf16."""
    full = dtype == "fp32"
    policy = {"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    options: dict[str, Any] = {f"+{part}.fsdp_config.mixed_precision": policy for part in (ACTOR, REF)}
    options |= {f"{MODEL}.use_remove_padding": not full, f"{ROLLOUT}.dtype": "float32" if full else "bfloat16"}
    return {**options, **({f"+{MODEL}.override_config.attn_implementation": "sdpa"} if full else {})}


def _text(value: Any) -> str:
    """A value in hydra's grammar, in which JSON's quotes would be eaten."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value) if isinstance(value, str) and not _is_plain(value) else str(value)


def _is_plain(text: str) -> bool:
    return bool(text) and all(letter.isalnum() or letter in "/._-" for letter in text)
