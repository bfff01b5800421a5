"""The patterns in an adapter's configuration, compared with the names of a model's modules under a time limit."""

import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.untrusted.model_folder import short

LONGEST = 10_000  # letters of a pattern
SECONDS = 3.0  # for all comparisons with the patterns of one adapter


class Patterns:
    """An adapter's patterns, compared with the names of a model's modules; a hostile pattern costs seconds at most."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self.path = path
        self.names = names  # from a module's name today to its name when the adapter was saved
        self.end = time.monotonic() + SECONDS

    def aimed(self, config: Mapping[str, Any], model: Any) -> set[str] | None:
        """The layers that target_modules and related settings select; None where they name none, as with all-linear."""
        import torch

        kinds = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv3d)
        target, saved = config.get("target_modules"), config.get("modules_to_save")
        if target is None or target == "all-linear":
            return None
        layers = {name for name, module in model.named_modules() if isinstance(module, kinds)}
        found = self._among(target, layers) - self._among(config.get("exclude_modules") or [], layers)
        if saved:
            found -= {n for n in found if any(f".{part}." in f".{self.names[n]}." for part in saved)}
        chosen = config.get("layers_to_transform")
        if chosen is None or chosen == [] or isinstance(target, str):  # a pattern is complete by itself
            return found
        chosen = [chosen] if isinstance(chosen, int) else list(chosen)
        parts = config.get("layers_pattern") or []
        part = "|".join(map(re.escape, [parts] if isinstance(parts, str) else parts)) or r"[^.]*"
        numbers = {name: re.search(rf"(?:^|\.)(?:{part})\.(\d+)\.", self.names[name]) for name in found}
        return {name for name, number in numbers.items() if number and int(number[1]) in chosen}

    def values(self, patterns: Any, layers: Collection[str], default: Any) -> dict[str, Any]:
        """Per layer the value of the first pattern that its name ends with: how peft reads rank and alpha patterns."""
        if not isinstance(patterns, dict):
            raise InputError(f"expected tables for rank_pattern and alpha_pattern in {self.path}, got {patterns!r:.80}")
        plain = {key: value for key, value in patterns.items() if re.fullmatch(r"[\w.]+", key)}
        if len(plain) == len(patterns):  # the quick way for plain names and ends of names
            ends = {name: self.names[name].split(".") for name in layers}
            keys = {name: {".".join(part[i:]) for i in range(len(part))} for name, part in ends.items()}
            return {name: next((v for k, v in plain.items() if k in keys[name]), default) for name in layers}
        found = dict.fromkeys(layers, default)
        for key, value in reversed(patterns.items()):
            found |= dict.fromkeys(self._matching(rf"(.*\.)?({key})", layers), value)
        return found

    def _among(self, target: Any, layers: Collection[str]) -> set[str]:
        if isinstance(target, str):
            return self._matching(target, layers)
        if not isinstance(target, list) or not all(isinstance(part, str) for part in target):
            raise InputError(f"expected a pattern or a list of names in {self.path}, got {target!r:.80}")
        ends = tuple(f".{part}" for part in target)
        return {name for name in layers if f".{self.names[name]}".endswith(ends)}

    def _matching(self, pattern: str, layers: Collection[str]) -> set[str]:
        import regex

        if len(pattern) > LONGEST:
            raise InputError(f"expected patterns of at most {LONGEST} letters in {self.path}, got {len(pattern)}")
        try:
            compiled = regex.compile(pattern)
            left = {name: self.names[name] for name in sorted(layers)}
            return {n for n, known in left.items() if compiled.fullmatch(known, timeout=self._left()) is not None}
        except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
            raise InputError(f"{self.path} holds an unusable pattern, {pattern[:80]!r} ({short(error)})") from error

    def _left(self) -> float:
        return max(self.end - time.monotonic(), 1e-3)
