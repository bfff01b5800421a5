"""Linear heads that read from each vision token what it shows, in the language model's own words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.policies.hf.inputs import base_model
from revseg.shapes.scene_captions import STEP as PERCENT_STEP
from revseg.shapes.token_labels import IGNORED, PIXEL_STEP

if TYPE_CHECKING:
    import torch

SPACE = "\u0120"  # a leading space in the tokens of byte-level tokenizers
WORD_WEIGHT = 8.0  # weight of a word's loss against a number's: forms are learnt last

Head = tuple[int, list[int]]
"""A column of `token_labels`, and the token that stands for each of its classes."""


class VisionHeads:
    """Predicts `token_labels` from vision tokens, through the output embeddings of the language model.

    Words are read as the language model would if a vision token were its last hidden state: norm, then output
    embeddings. Every coordinate has a linear map of its own before them, and is read as the number that an answer would
    contain. `parts` are all modules that are trained: vision tower, norm, output embeddings, and the linear maps.
    """

    def __init__(
        self, policy: Any, words: Sequence[Sequence[str]], *, longest: int = 112, frames: int = 16, seed: int = 0
    ) -> None:
        """`words` per kind, as in `token_labels`; the longest side in pixels and the number of frames of a clip."""
        import torch

        model = base_model(policy.model)
        visual, text = model.model.visual, model.model.language_model
        hidden = visual.config.out_hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            maps = torch.nn.ModuleList(torch.nn.Linear(hidden, hidden, bias=False) for _ in range(8 + 6 + 3))
        self.maps: Any = maps.to(policy.model.device)
        modules = {"visual": visual, "norm": text.norm, "words": model.get_output_embeddings(), "maps": self.maps}
        self.parts: Any = torch.nn.ModuleDict(modules)
        encode = policy.processor.tokenizer.convert_tokens_to_ids
        numbers = range(max(longest + 1, 101, frames))
        plain, spaced = ([encode(space + str(n)) for n in numbers] for space in ("", SPACE))
        none = encode(SPACE + "none")
        self.word_heads: list[Head] = []
        for column, kind in enumerate(words):
            # with a space before it a word is another token than at the start of a text, where not all words have one
            variants = [[encode(space + word) for word in kind] for space in (SPACE, "")]
            if None in (*variants[0], none, *plain, *spaced):
                raise InputError(
                    f"expected a tokenizer with a token for each of {', '.join(kind)}, none and each number"
                )
            self.word_heads += [(column, [*ids, none]) for ids in variants if None not in ids]
        # corners are in lists, after a comma; all other numbers are in sentences, after a space
        corners, percents = [*plain[: longest + 1 : PIXEL_STEP], none], [*spaced[:101:PERCENT_STEP], none]
        classes = [corners] * 8 + [percents] * 6 + [spaced[:frames]] + [corners] * 2
        self.number_heads: list[Head] = [(len(words) + i, ids) for i, ids in enumerate(classes)]

    def __call__(self, tokens: "torch.Tensor", labels: "torch.Tensor") -> "tuple[torch.Tensor, float]":
        """From tokens [n h] and labels [n k]: the weighted losses of all heads, and the accuracy.

        Accuracy is the share of tokens with all words right, among those that show an object.
        """
        import torch

        norm, embeddings, first = self.parts["norm"], self.parts["words"].weight, self.number_heads[0][0]
        state = norm(tokens)
        read = [(state, column, ids) for column, ids in self.word_heads]
        for linear, (column, ids) in zip(self.maps, self.number_heads, strict=True):
            read.append((norm(linear(tokens[labels[:, column] != IGNORED])), column, ids))
        losses, right = [], labels[:, first] != IGNORED
        shown = right.sum().clamp(min=1)
        for state, column, ids in read:
            answers = labels[:, column][labels[:, column] != IGNORED]
            logits = (state @ embeddings[ids].T.to(state.dtype)).float()
            loss = torch.nn.functional.cross_entropy(logits, answers)
            losses.append(loss.nan_to_num())  # NaN: no token has this label
            if column < first:
                right = right & (logits.argmax(-1) == labels[:, column])
        weights = [WORD_WEIGHT] * len(self.word_heads) + [1.0] * len(self.maps)
        scale = torch.tensor(weights, device=labels.device)
        return torch.stack(losses) * scale / scale.mean(), float(right.sum() / shown)
