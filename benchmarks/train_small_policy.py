"""Train the bundled small policy by supervised fine-tuning on the synthetic world, in three stages.

    torchrun --standalone --nproc_per_node 2 benchmarks/train_small_policy.py --out runs/small

Eyes: the vision tower learns what each of its tokens shows. Scenes: the language model learns to say what is there and
where, while the tower moves little. Conversations: both learn to answer questions. Each stage has a folder of its own
under `--out`; stopped and started again with the same arguments, the run goes on from its last checkpoint.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from revseg.policies.hf.policy import QwenPolicy
from revseg.shapes.dataset import Shapes, everything
from revseg.shapes.fine_tuning import SFTConfig, sft
from revseg.shapes.render import FORMS
from revseg.shapes.scene import COLOURS
from revseg.shapes.small_model import build_model, build_processor
from revseg.shapes.vision_pretraining import EyesConfig, open_eyes

# more about what is hard to see, and things that come late or go early
WORLD = {
    "objects": [1, 4],
    "brief": 0.7,
    "mix": {"time": 3, "motion": 3, "comparison": 2, "relation": 2, "attribute": 2, "several": 1, "absent": 1},
}
ROUNDS = (("keyframe_terse:size=84,ruler=14", "keyframe_json"), ("box_terse:size=112,ruler=14", "box_json"))
SINGLE = ("keyframe_and_box_terse:size=84,ruler=14", "keyframe_and_box_json")


def corpus(count: int = 400) -> Iterator[str]:
    """Text of both wordings, and the shape of the answers, for the tokenizer to learn its words from."""
    for wording in ("plain", "reworded"):
        for forms in ("seen", "unseen"):
            for sample in Shapes(size=count, wording=wording, forms=forms, seed=1):
                yield f" {sample.query.text}"
                yield f" {'; '.join(sample.meta['descriptions'])}"
                yield f"<think>{sample.meta['thinking']}</think>"
                for name in sample.meta["descriptions"]:
                    yield f'<answer>[{{"frame_idx":0,"object description":"{name}"}}]</answer>'
                    yield '[{"bbox_2d":[1,2,3,4]},{"bbox_2d":[5,6,7,8]}]<answer>[]</answer>'
                    yield f'":"{name}","bbox_2d":[1,2,3,4]}},{{"frame_idx":0,"object description":"{name}"}}]</answer>'


def fresh(hidden: int, layers: int, seed: int) -> QwenPolicy:
    """A randomly initialised policy of that size."""
    processor = build_processor(corpus(), merge=1)
    model = build_model(processor, hidden=hidden, layers=layers, vision_hidden=hidden, seed=seed)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return QwenPolicy(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/small"))
    parser.add_argument("--eyes", type=int, default=1100, help="steps of the first stage")
    parser.add_argument("--scenes", type=int, default=400, help="steps of the second")
    parser.add_argument("--steps", type=int, default=1500, help="steps of the third, which holds conversations")
    parser.add_argument("--batch", type=int, default=24, help="conversations a step; twice as many scenes")
    parser.add_argument("--asides", type=int, default=8, help="other questions about each clip")
    parser.add_argument("--weights", default=None, help="a policy to go on from: the third stage alone")
    parser.add_argument("--world", type=json.loads, default=WORLD, help="options of the world, as JSON")
    parser.add_argument("--lr", type=float, default=0.01, help="of Muon in the third stage; AdamW's is 0.15 of it")
    parser.add_argument("--tower-rate", type=float, default=0.3, help="the tower's rates there, against the others'")
    parser.add_argument("--hasty", type=float, default=0.0, help="share of conversations whose expert is in a hurry")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches ahead")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    policy = QwenPolicy(args.weights) if args.weights else fresh(args.hidden, args.layers, args.seed)
    talk = SFTConfig(
        steps=args.steps,
        batch=args.batch,
        muon_lr=args.lr,
        adam_lr=0.15 * args.lr,
        weight_decay=0.05,
        tower_rate=args.tower_rate,
        warmup=100,
        rounds=ROUNDS,
        single_round=SINGLE,
        single=0.15,
        hasty=args.hasty,
        extra=1,
        asides=args.asides,
        rows=4,
        seed=args.seed + 1,  # other clips than the scenes'
        workers=args.workers,
    )
    rates = {"muon_lr": 0.02, "adam_lr": 0.003, "tower_rate": 0.1}
    look = replace(talk, steps=args.scenes, boxes_first=args.scenes, seed=args.seed, **rates)
    dataset = Shapes(size=10_000_000, split="train", **args.world)
    count = sum(p.numel() for p in policy.model.parameters())
    print(f"{count:,} parameters, {len(policy.processor.tokenizer)} tokens")

    def report(row: dict[str, float]) -> None:
        if row["step"] % 20 == 0:
            print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    if not args.weights:
        words = (tuple(COLOURS), tuple(FORMS))
        eyes = EyesConfig((ROUNDS[0][0], ROUNDS[1][0]), words, steps=args.eyes, seed=args.seed, workers=args.workers)
        open_eyes(policy, dataset, args.out / "eyes", eyes, others=everything, report=report)
        sft(policy, dataset, args.out / "scenes", look, others=everything, report=report)
    sft(policy, dataset, args.out, talk, others=everything, asides=dataset.asides, report=report)


if __name__ == "__main__":
    main()
