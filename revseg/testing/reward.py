"""The contract of a reward."""

import math
from typing import Any

from revseg import checked
from revseg.masks import MaskTrack
from revseg.registry import build
from revseg.testing.conversations import judged
from revseg.testing.conversations import perfect as perfect_cases
from revseg.testing.running import expect, for_all
from revseg.types import Reward, Rollout


def check_reward(reward: Any, *, perfect: bool = True, examples: int = 100) -> None:
    """Checks that any rollout gives a number in [0, 1], the same each time, and the perfect rollout gives 1.

    Rollouts are failed, unfinished, absent and perfect ones. The perfect one has the frame with the largest box of the
    only target as its keyframe, and that box. `perfect=False` is for rewards that judge something else.
    """
    built: Reward = build("reward", reward)

    def check(case: tuple[Rollout, MaskTrack]) -> None:
        value = built(*case)
        expect(checked.share(value), f"{reward!r} gave {value!r}; expected a number in [0, 1]")
        again = built(*case)
        expect(value == again, f"{reward!r} gave {value!r}, then {again!r} for the same rollout")

    def check_perfect(case: tuple[Rollout, MaskTrack]) -> None:
        check(case)
        value = built(*case)
        expect(math.isclose(value, 1, abs_tol=1e-4), f"{reward!r} gave the perfect rollout {value!r}; expected 1")

    for_all(judged(), check, examples)
    if perfect:
        for_all(perfect_cases(), check_perfect, max(examples // 2, 1))
