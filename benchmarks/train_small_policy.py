"""Train the bundled small policy by supervised fine-tuning on the synthetic world.

    python benchmarks/train_small_policy.py --out runs/small --steps 3000

Stopped and started again with the same arguments, it goes on from its checkpoint.
"""

import argparse
import json
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from revseg.datasets.shapes import Shapes, by_name, scene_of
from revseg.datasets.shapes_render import FORMS, true_masks
from revseg.datasets.shapes_scene import COLOURS
from revseg.masks import MaskTrack
from revseg.rollout.qwen import QwenPolicy
from revseg.training.eyes import EyesConfig, open_eyes
from revseg.training.sft import SFTConfig, sft
from revseg.training.small import build_model, build_processor
from revseg.types import Sample

ROUNDS = (("keyframe_terse:size=84,ruler=14", "keyframe_json"), ("box_terse:size=112,ruler=14", "box_json"))
SINGLE = ("keyframe_and_box_terse:size=84,ruler=14", "keyframe_and_box_json")


def everything(sample: Sample) -> MaskTrack:
    """All things of a sample's scene, named."""
    scene = scene_of(sample)
    return true_masks(scene, by_name(scene, range(len(scene.things))))


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/small")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--eyes-first", type=int, default=0, help="steps in which the vision tower alone is taught")
    parser.add_argument("--boxes-first", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asides", type=int, default=2, help="other questions about each clip")
    parser.add_argument("--weights", default=None, help="a policy to go on from, instead of random weights")
    parser.add_argument("--world", type=json.loads, default={}, help="options of the world, as JSON")
    parser.add_argument("--lr", type=float, default=0.02, help="of Muon; AdamW's is 0.15 of it")
    parser.add_argument("--tower-rate", type=float, default=1.0, help="the vision tower's rates, against the others'")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches ahead")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    policy = QwenPolicy(args.weights) if args.weights else fresh(args.hidden, args.layers, args.seed)
    config = SFTConfig(
        steps=args.steps,
        batch=args.batch,
        muon_lr=args.lr,
        adam_lr=0.15 * args.lr,
        weight_decay=0.05,
        tower_rate=args.tower_rate,
        warmup=args.warmup,
        rounds=ROUNDS,
        single_round=SINGLE,
        single=0.15,
        extra=1,
        asides=args.asides,
        boxes_first=args.boxes_first,
        seed=args.seed,
        workers=args.workers,
    )
    dataset = Shapes(size=10_000_000, split="train", **args.world)
    count = sum(p.numel() for p in policy.model.parameters())
    tokens = len(policy.processor.tokenizer)
    print(f"{count:,} parameters, {tokens} tokens, {config.steps} steps of {config.batch}")

    def report(row: dict[str, float]) -> None:
        if row["step"] % 20 == 0:
            print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    if args.eyes_first:
        words = (tuple(COLOURS), tuple(FORMS))
        prompts = (ROUNDS[0][0], ROUNDS[1][0])
        eyes = EyesConfig(prompts, words, steps=args.eyes_first, seed=args.seed, workers=args.workers)
        open_eyes(policy, dataset, f"{args.out}/eyes", eyes, others=everything, report=report)
    sft(policy, dataset, args.out, config, others=everything, asides=dataset.asides, report=report)


if __name__ == "__main__":
    main()
