"""Teaching a vision tower what each of its tokens shows, before a language model learns to read them.

A released vision tower has seen its pictures long before it meets questions. One trained from nothing through a
language model gets a few words a video to learn from; told of every token whose colour, form and box it shows, it gets
hundreds. It has to tell them in the language model's own words: read as that model's last state would be, a token
gives the colour and the form as words and, through one matrix each, its coordinates as the numbers of an answer. So
words and what they look like are alike to the language model before it sees its first question. The matrices are
thrown away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from revseg import checked
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.policies.hf.inputs import base_model, see
from revseg.registry import build
from revseg.shapes.scene_captions import STEP as PERCENT
from revseg.shapes.supervised import Report, run_steps
from revseg.training.optimizers import muon_and_adamw
from revseg.types import Answer, Dataset, Message, Reply, Rollout, Sample, Target, Turn

if TYPE_CHECKING:
    from revseg.policies.hf.encoding import Block

LEAST = 0.06  # share of a token's pixels from which the object in it is what it shows
STEP = 2  # pixels: corners are told in steps of as many, as the expert rounds them
SPACE = "\u0120"  # as byte-level tokenizers write it
WORD = 8.0  # how much a word counts against a number: forms are the last thing that is learnt
UNSAID = -100  # a label that counts for nothing


@dataclass(frozen=True)
class EyesConfig:
    """A run of `steps` batches of clips, and of one picture of each, as `prompts` (a round's two) show them.

    `words` are the kinds of words in the objects' names, in their order: each name is one of each kind. `size` is the
    longest side of a picture shown, in pixels. `workers` processes make batches ahead.
    """

    prompts: tuple[str, str]
    words: tuple[tuple[str, ...], ...]
    size: int = 112
    steps: int = 600
    batch: int = 32
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 100
    sampler: str = "uniform"
    num_frames: int = 16
    seed: int = 0
    bf16: bool = True
    save_every: int = 200
    workers: int = 0


def open_eyes(
    policy: Any,
    dataset: Dataset,
    folder: str | Path,
    config: EyesConfig,
    *,
    others: Callable[[Sample], MaskTrack],
    report: Report = lambda row: None,
) -> None:
    """Train the vision tower of `policy` in place; logs and checkpoints in `folder`, from which it goes on.

    `others(sample)` gives all objects of a scene, with names. Under torchrun the processes share each batch.
    """
    import torch

    read = Reader(policy, config)
    words = read.parts["words"].parameters()
    optimizers = muon_and_adamw(read.parts, muon_lr=config.muon_lr, adam_lr=config.adam_lr, plain=words)

    def make(step: int, rows: slice) -> "tuple[list[Block], np.ndarray]":
        return _batch(policy, dataset, config, step, others, rows)

    def learn(batch: "tuple[list[Block], np.ndarray]", accelerator: Any) -> dict[str, float]:
        blocks, told = batch
        labels = torch.as_tensor(told, device=policy.model.device)
        with torch.autocast(policy.model.device.type, torch.bfloat16, enabled=config.bf16):
            losses, right = read(see(policy, blocks), labels)
        loss = losses.mean() / accelerator.num_processes
        loss.backward()
        return {"loss": accelerator.reduce(loss.detach(), "sum").item(), "right": right}

    run_steps(read.parts, optimizers, Path(folder), config, make, learn, report)


class Reader:
    """What a language model would say of the tokens that it gets, were each its last state.

    `parts` are all modules that are trained: the vision tower, the words with the norm before them, and a matrix for
    each coordinate.
    """

    def __init__(self, policy: Any, config: EyesConfig) -> None:
        import torch

        model = base_model(policy.model)
        visual, text = model.model.visual, model.model.language_model
        size = visual.config.out_hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            turns = torch.nn.ModuleList(torch.nn.Linear(size, size, bias=False) for _ in range(8 + 6 + 3))
        self.turns: Any = turns.to(policy.model.device)
        modules = {"visual": visual, "norm": text.norm, "words": model.get_output_embeddings(), "turns": self.turns}
        self.parts: Any = torch.nn.ModuleDict(modules)
        token = policy.encoder.tokenizer.convert_tokens_to_ids
        none = token(SPACE + "none")
        count = range(max(config.size + 1, 101, config.num_frames))
        plain, spaced = ([token(space + str(n)) for n in count] for space in ("", SPACE))
        self.said: list[tuple[int, list[int]]] = []  # the label's column, the tokens that it counts
        for column, kind in enumerate(config.words):
            # a word with a space before it is another token than at the start of a text, where not all have one
            forms = [[token(space + word) for word in kind] for space in (SPACE, "")]
            if None in (*forms[0], none, *plain, *spaced):
                raise InputError(
                    f"expected a tokenizer with a token for each of {', '.join(kind)}, none and each number"
                )
            self.said += [(column, [*ids, none]) for ids in forms if None not in ids]
        # corners stand in lists, after a comma, all else in sentences
        corners, percents = [*plain[: config.size + 1 : STEP], none], [*spaced[:101:PERCENT], none]
        kinds = [corners] * 8 + [percents] * 6 + [spaced[: config.num_frames]] + [corners] * 2
        self.turned = [(len(config.words) + i, ids) for i, ids in enumerate(kinds)]

    def __call__(self, tokens: Any, labels: Any) -> tuple[Any, float]:
        """Weighted losses float[k] of all that is said of tokens [n h], and of those that show something the share of
        which all words are right."""
        import torch

        norm, words, first = self.parts["norm"], self.parts["words"].weight, self.turned[0][0]
        state = norm(tokens)
        told = [(state, column, ids) for column, ids in self.said]
        for turn, (column, ids) in zip(self.turns, self.turned, strict=True):
            told.append((norm(turn(tokens[labels[:, column] != UNSAID])), column, ids))
        losses, right = [], labels[:, first] != UNSAID
        shown = right.sum().clamp(min=1)
        for state, column, ids in told:
            answers = labels[:, column][labels[:, column] != UNSAID]
            scores = (state @ words[ids].T.to(state.dtype)).float()
            loss = torch.nn.functional.cross_entropy(scores, answers)
            losses.append(loss.nan_to_num())
            if column < first:
                right = right & (scores.argmax(-1) == labels[:, column])
        weights = torch.tensor([WORD] * len(self.said) + [1.0] * len(self.turned), device=labels.device)
        return torch.stack(losses) * weights / weights.mean(), float(right.sum() / shown)


def _batch(
    policy: Any,
    dataset: Dataset,
    config: EyesConfig,
    step: int,
    others: Callable[[Sample], MaskTrack],
    rows: slice,
) -> "tuple[list[Block], Int64[np.ndarray, 'n k']]":
    """What is seen in one step, and what to say of each token; each row is drawn from (seed, step, row) alone."""
    sampler = build("sampler", config.sampler)
    clips, pictures = (build("prompt", spec) for spec in config.prompts)
    blocks: list[Block] = []
    told: list[np.ndarray] = []
    for row in range(config.batch)[rows]:
        rng = np.random.default_rng([config.seed, step, row])
        index = int(rng.integers(len(dataset)))
        sample = checked.sample(dataset, dataset[index], index)
        found = sampler(sample.video, sample.query, config.num_frames)
        clip = checked.clip(sampler, found, sample.video, config.num_frames)
        track = others(sample).at(clip.frame_ids)
        whole = checked.message(clips, clips(Rollout(clip, sample.query)), sample.query)
        frame = int(rng.integers(len(clip)))
        answer = Answer((Target(int(clip.frame_ids[frame]), "x"),))
        named = Turn(Message("user", ("",)), Reply(""), answer, clip)
        asked = pictures(Rollout(clip, sample.query, (named,)))
        picture = checked.message(pictures, asked, sample.query)
        for message, part, still in ((whole, track, False), (picture, track.at(clip.frame_ids[[frame]]), True)):
            (piece,) = policy.encoder.prompt(message, first=True).blocks
            blocks.append(piece)
            (shown,) = message.clips
            grid = (piece.grid.t, piece.grid.h, piece.grid.w)
            told.append(labels(part, grid, config.words, shown.size, config.size, still=still))
    videos = [i for i, block in enumerate(blocks) if block.is_video]
    order = [*videos, *(i for i in range(len(blocks)) if i not in videos)]
    return [blocks[i] for i in order], np.concatenate([told[i] for i in order])


def labels(
    track: MaskTrack,
    grid: tuple[int, int, int],
    words: Sequence[Sequence[str]],
    size: tuple[int, int],
    most: int,
    *,
    still: bool = False,
) -> Int64[np.ndarray, "n k"]:
    """What each token of a grid (times, rows, columns; times of two frames each) shows, as `Reader` counts answers.

    The object with the most pixels in it: its words (the last class: none), its corners on both frames (after the
    number of steps in `most` pixels, the last class: not there; `UNSAID` where there is no object), and of both its
    centre and longer side; then the token's first frame (not of a `still`), its upper and its left edge. All is told as
    the language model is to say it: corners and edges in steps of `STEP` pixels of a picture of that `size` (height,
    width), centres and sides in steps of `telling.STEP` percent.
    """
    times, rows, columns = grid
    height, width = size
    frames = np.minimum(np.arange(2 * times), len(track) - 1)
    seen = _shares(track, rows, columns)[:, frames].reshape(track.objects, times, 2, rows, columns).mean(2)
    best = seen.argmax(0)
    shown = (seen.max(0) >= LEAST)[..., None]
    kinds = [name.split(" ") for name in track.names]
    named = np.array([[kind.index(word) for kind, word in zip(words, name, strict=True)] for name in kinds])
    nothing = np.array([len(kind) for kind in words])
    boxes = np.stack([track.select([o]).boxes for o in range(track.objects)])[:, frames]
    there = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdims=True)
    corners = np.where(there, np.round(boxes * np.array([width, height, width, height]) / STEP), most // STEP + 1)
    low, high = boxes[..., :2], boxes[..., 2:]
    middles = np.concatenate([(low + high) / 2, (high - low).max(-1, keepdims=True)], -1)
    middles = np.where(there, np.round(middles * 100 / PERCENT), 100 // PERCENT + 1)
    told = np.concatenate([part.reshape(track.objects, times, -1) for part in (corners, middles)], -1).astype(np.int64)
    own = np.stack(np.meshgrid(np.arange(times), np.arange(rows), np.arange(columns), indexing="ij"), -1)
    own = own * np.array([2, height // rows // STEP, width // columns // STEP])
    if still:
        own[..., 0] = UNSAID
    said = np.concatenate(
        [
            np.where(shown, named[best], nothing),
            np.where(shown, told[best, np.arange(times)[:, None, None]], UNSAID),
            own,
        ],
        -1,
    )
    return said.reshape(times * rows * columns, -1)


def _shares(track: MaskTrack, rows: int, columns: int) -> np.ndarray:
    """float[o t rows columns]: the share of each cell that each object covers."""
    dense = track.dense().astype(np.float32)
    height, width = track.size
    down, across = (np.arange(n) * side // n for n, side in ((rows, height), (columns, width)))
    counts = np.add.reduceat(np.add.reduceat(dense, down, axis=2), across, axis=3)
    return counts / (height * width / rows / columns)
