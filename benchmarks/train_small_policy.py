"""Train the bundled small policy by supervised fine-tuning on the synthetic world, in three stages.

    torchrun --standalone --nproc_per_node 2 benchmarks/train_small_policy.py --out runs/small

Stage 1, vision: the vision tower learns what each of its tokens shows. Stage 2, scenes: the language model learns to
caption scenes and to locate objects, while the vision tower changes little. Stage 3, conversations: both learn to
answer questions. The first two stages have folders of their own under `--out`. A run that was stopped continues from
its last checkpoint when started again with the same arguments.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from revseg.policies.hf.policy import HFPolicy
from revseg.shapes.dataset import Shapes
from revseg.shapes.fine_tuning import SFTConfig, sft
from revseg.shapes.render import FORMS
from revseg.shapes.samples import all_objects
from revseg.shapes.scene import COLOURS
from revseg.shapes.small_model import build_model, build_processor
from revseg.shapes.vision_pretraining import VisionPretrainingConfig, pretrain_vision

# more of the harder kinds of question, and more objects that appear late or disappear early
WORLD = {
    "objects": [1, 4],
    "brief": 0.7,
    "mix": {"time": 3, "motion": 3, "comparison": 2, "relation": 2, "attribute": 2, "several": 1, "absent": 1},
}
ROUNDS = (("keyframe_terse:size=84,ruler=14", "keyframe_json"), ("box_terse:size=112,ruler=14", "box_json"))
ONE_ROUND = ("keyframe_and_box_terse:size=84,ruler=14", "keyframe_and_box_json")


def corpus(count: int = 400) -> Iterator[str]:
    """Texts that the tokenizer is trained on: queries of both wordings, and answers in their format."""
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


def fresh(hidden: int, layers: int, seed: int) -> HFPolicy:
    """A randomly initialised policy of that size."""
    processor = build_processor(corpus(), merge=1)
    model = build_model(processor, hidden=hidden, layers=layers, vision_hidden=hidden, seed=seed)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return HFPolicy(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/small"))
    parser.add_argument("--vision-steps", type=int, default=1100, help="steps of stage 1")
    parser.add_argument("--scene-steps", type=int, default=400, help="steps of stage 2")
    parser.add_argument("--steps", type=int, default=1500, help="steps of stage 3, the conversations")
    parser.add_argument("--batch", type=int, default=24, help="conversations per step; twice as many scenes")
    parser.add_argument("--extra-questions", type=int, default=8, help="further questions about each clip")
    parser.add_argument("--weights", default=None, help="a policy to start from; runs stage 3 alone")
    parser.add_argument("--world", type=json.loads, default=WORLD, help="options of the world, as JSON")
    parser.add_argument("--lr", type=float, default=0.01, help="Muon's learning rate in stage 3; AdamW's is 0.15 of it")
    parser.add_argument("--vision-lr-scale", type=float, default=0.3, help="factor on vision rates in stage 3")
    parser.add_argument("--low-quality", type=float, default=0.0, help="share of low-quality demonstrations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches beforehand")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    policy = HFPolicy(args.weights) if args.weights else fresh(args.hidden, args.layers, args.seed)
    conversations = SFTConfig(
        steps=args.steps,
        batch=args.batch,
        muon_lr=args.lr,
        adam_lr=0.15 * args.lr,
        weight_decay=0.05,
        vision_lr_scale=args.vision_lr_scale,
        warmup=100,
        rounds=ROUNDS,
        one_round=ONE_ROUND,
        one_round_share=0.15,
        low_quality_share=args.low_quality,
        extra_boxes=1,
        extra_questions=args.extra_questions,
        conversations_per_forward=4,
        seed=args.seed + 1,  # other clips than in stage 2
        workers=args.workers,
    )
    rates = {"muon_lr": 0.02, "adam_lr": 0.003, "vision_lr_scale": 0.1}
    steps = args.scene_steps
    scenes = replace(conversations, steps=steps, scene_steps=steps, seed=args.seed, **rates)
    dataset = Shapes(size=10_000_000, split="train", **args.world)
    count = sum(p.numel() for p in policy.model.parameters())
    print(f"{count:,} parameters, {len(policy.processor.tokenizer)} tokens")

    def report(row: dict[str, float]) -> None:
        if row["step"] % 20 == 0:
            print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    if not args.weights:
        words = (tuple(COLOURS), tuple(FORMS))
        vision = VisionPretrainingConfig(
            (ROUNDS[0][0], ROUNDS[1][0]), words, steps=args.vision_steps, seed=args.seed, workers=args.workers
        )
        pretrain_vision(policy, dataset, args.out / "vision", vision, all_objects=all_objects, report=report)
        sft(policy, dataset, args.out / "scenes", scenes, all_objects=all_objects, report=report)
    extra = dataset.extra_questions
    sft(policy, dataset, args.out, conversations, all_objects=all_objects, extra_questions=extra, report=report)


if __name__ == "__main__":
    main()
