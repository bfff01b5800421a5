"""What differs between families of vision-language models: the protocol `Codec`, and the data that it gives.

A codec is built from a model's processor and configuration, without weights: a process that only prepares training
data can use it as well as the policy that holds the model. Methods that need the weights are given the model.

A family is added by one class, registered under the `model_type` of its config.json, in a module that your package
names as an entry point of `revseg.codec` or that your program imports:

    @revseg.register("codec", "my_vl")
    class MyVL(ChatCodec): ...

`chat.py` has what the families with a chat template share, `qwen2_5_vl.py` and `qwen3_vl.py` are examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from revseg.policies.hf.mrope import Grid
from revseg.types import Geometry, Message, Rollout

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Block:
    """The patches of one picture or clip as bytes, uint8[n 3*pt*p*p], and the grid of tokens that they become.

    `frames` is the number of the clip's own frames, without those added to fill its last patch.
    """

    patches: UInt8[np.ndarray, "n d"]
    grid: Grid
    is_video: bool
    frames: int = 1


@dataclass(frozen=True, eq=False)
class Encoded:
    """A piece of a conversation, a prompt or a reply.

    `runs` say how positions are counted: an int is a run of so many text tokens, a `Grid` a run of picture tokens.
    `blocks` are the pictures of these runs, in order. `sampled`: the tokens were drawn by a policy.
    """

    token_ids: Int64[np.ndarray, " n"]
    runs: tuple[int | Grid, ...]
    blocks: tuple[Block, ...] = ()
    sampled: bool = False


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A conversation as one sequence: what a training engine needs of a rollout.

    `logprobs` are those recorded while sampling, 0 where `sampled` is false. `positions` are the rows t, h, w of the
    rotary embedding. `pictures` are in the order of their tokens; `Codec.pixels` makes the vision tower's input of
    them.
    """

    token_ids: Int64[np.ndarray, " n"]
    sampled: Bool[np.ndarray, " n"]
    logprobs: Float32[np.ndarray, " n"]
    positions: Int64[np.ndarray, "3 n"]
    pictures: tuple[Block, ...]


@runtime_checkable
class Codec(Protocol):
    """Between conversations and what one family of models reads and writes.

    `coords` is how the family writes boxes ("pixel", "per_mille" or "unit"). Sides of pictures are multiples of `side`
    pixels. `cache` is "full" when each layer keeps the keys and values of every token; "state" when some layers keep a
    running state instead, so that nothing is reused from round to round and no prompt is shared between rows.
    `opened` is what the chat template writes at the beginning of each reply ("<think>", or nothing).
    """

    coords: str
    side: int
    cache: str
    end_id: int  # ends a message; also used for padding
    stops: tuple[int, ...]  # tokens that end a reply
    suppressed: tuple[int, ...]  # tokens that are never drawn, such as those that stand for pictures
    opened: str
    processor: Any
    lora_layers: str  # a pattern that matches the names of the linear layers that `add_lora` adapts

    @staticmethod
    def classes() -> tuple[Any, Any, Any]:
        """transformers' classes of the configuration, the model and the processor."""
        ...

    @classmethod
    def geometry(cls, config: Mapping[str, Any]) -> Geometry:
        """`coords` and `side` as the content of a config.json says, which is data from elsewhere."""
        ...

    @classmethod
    def check(cls, processor: Any, config: Any, folder: Path) -> None:
        """InputError when the two, which were read from `folder`, are of different models or cannot be used."""
        ...

    def __init__(self, processor: Any, config: Any, *, stops: Sequence[int] = (), fps: float = 2.0) -> None:
        """`stops` are tokens that end a reply besides `end_id`; `fps` is the nominal frame rate of clips."""
        ...

    def prompt(self, message: Message, *, first: bool) -> Encoded:
        """One message with what the chat template puts around it; one object per message."""
        ...

    def encode(self, rollout: Rollout, prompt: Message | None) -> list[Encoded]:
        """Prompt, reply, prompt, reply ..., and the open prompt, if any. Concatenated they are the model's input."""
        ...

    def positions(self, pieces: Sequence[Encoded], start: int = 0) -> tuple[Int64[np.ndarray, "3 n"], int]:
        """The positions of consecutive pieces, and where the next piece would start."""
        ...

    def trajectory(self, rollout: Rollout) -> Trajectory:
        """The whole conversation as one sequence. InputError for sampled tokens without log-probs."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text, without any added at its ends."""
        ...

    def texts(self, replies: Sequence[np.ndarray]) -> list[str]:
        """The text of each reply, given as int64[n] tokens, without special tokens."""
        ...

    def pixels(self, blocks: Sequence[Block], device: Any = None) -> "tuple[torch.Tensor, torch.Tensor]":
        """What the vision tower reads of blocks: float32[n d] patches, and int64[b 3] grids counted in patches."""
        ...

    @staticmethod
    def vision_tower(model: Any) -> Any:
        """The part of a model that reads pictures."""
        ...

    def see(self, model: Any, pixels: "torch.Tensor", grids: "torch.Tensor") -> "torch.Tensor":
        """float[n h]: the tokens of blocks as the language model gets them, block after block."""
        ...

    def share_pictures(
        self, model: Any, inputs: "dict[str, torch.Tensor]", blocks: Sequence[Block]
    ) -> "dict[str, torch.Tensor]":
        """Inputs whose pixels are those of distinct blocks, made so that each is seen once and used where it occurs.

        `blocks` are all blocks of the rows, repeats included, in the order of their tokens.
        """
        ...
