"""Registry look-ups and rewards against the step that they belong to: their share must be small.

    python benchmarks/speed/parts.py --out benchmarks/results/speed/parts.json

The step is the bundled policy's (1.6 million parameters): a group of 8 rollouts, their log-probs and the gradient. With
a policy of the paper's size it takes hundreds of times as long, and the shares are as much smaller.
"""

import os
import time

import measure
import torch

from revseg.pipeline import ReVSeg
from revseg.registry import build
from revseg.types import TrainedPolicy


def main() -> None:
    given = measure.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"
    turns, n = (1, 2) if given.small else (5, 8)
    sample = build("dataset", "shapes:size=1,split=test,frames=16" if not given.small else "shapes:size=1,split=test")[
        0
    ]
    model = ReVSeg()
    groups = model.rollouts([sample], n=n)  # builds the policy
    assert sample.truth is not None
    model.score(groups[0][0], sample.truth)
    names = [("reward", "format"), ("reward", "temporal"), ("reward", "spatial"), ("parser", "box_json")]
    policy = model.built_policy
    assert isinstance(policy, TrainedPolicy)
    asking, judging, looking = [], [], []
    for _ in range(turns):
        began = time.process_time()
        groups = model.rollouts([sample], n=n)
        torch.cat(policy.logprobs(groups[0])).sum().backward()
        policy.model.zero_grad()
        policy.forget()
        asking.append((time.process_time() - began) / n)
        began = time.process_time()
        for rollout in groups[0]:
            model.score(rollout, sample.truth)
        judging.append((time.process_time() - began) / n)
        began = time.process_time()
        for _ in range(100):
            for kind, name in names:
                build(kind, name)
        looking.append((time.process_time() - began) / 100)
    rows = [
        {
            "what": what,
            "ours_s": measure.spread(times),
            "step_s": measure.spread(asking),
            "share": measure.spread([part / whole for part, whole in zip(times, asking, strict=True)]),
            "target": 0.01,
        }
        for what, times in (
            ("scoring a rollout by Eq. 8's rewards, against its part of a step", judging),
            (f"looking up {len(names)} parts in their registries, against one rollout's part of a step", looking),
        )
    ]
    measure.report(rows, given.out)


if __name__ == "__main__":
    main()
