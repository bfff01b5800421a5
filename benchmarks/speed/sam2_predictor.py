"""The `sam2` tracker against Meta's video predictor used as in its notebook: masks, time a frame, start-up, memory.

    python benchmarks/speed/sam2_predictor.py --out benchmarks/results/speed/sam2_predictor.json

A small random model on the CPU, one thread, a folder of JPEG frames of 120x160, one box on the first frame. Start-up is
what happens before the first frame is tracked: `init_state` reads the whole video, we open a folder and encode the
prompted frame. The network is the same, so a frame costs the same where it dominates; here, being tiny, it does not.
`--config sam2.1/sam2.1_hiera_t` takes Meta's own shape instead of the toy, with weights as random.
"""

import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np
from PIL import Image
from tracking_memory import SIZE, box, render

from revseg.registry import build
from revseg.trackers.prompts import objects_to_track
from revseg.types import Grounding
from revseg.video import Video

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # where the tiny models are made
GROUNDING = Grounding(0, box(0))


def predictor(folder: Path) -> Any:
    """As `build_sam2_video_predictor` sets it up, without the filling of holes, which needs a CUDA extension."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from safetensors.torch import load_file

    settings = {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "fill_hole_area": 0,
        "binarize_mask_from_pts_for_mem_enc": True,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    config = OmegaConf.load(folder / "sam2_tiny.yaml")
    net = instantiate(OmegaConf.merge(config.model, settings)).eval()
    net.load_state_dict(load_file(folder / "sam2_tiny.safetensors"))
    return net


def notebook(net: Any, jpegs: Path) -> tuple[np.ndarray, float]:
    """(masks bool[t h w], CPU seconds of the start) as the notebook gets them."""
    began = time.process_time()
    state = net.init_state(str(jpegs))
    height, width = SIZE
    net.add_new_points_or_box(state, frame_idx=0, obj_id=0, box=box(0)[0] * np.array([width, height] * 2, np.float32))
    start = time.process_time() - began
    masks = [(logits[0, 0] > 0).numpy() for _, _, logits in net.propagate_in_video(state)]
    return np.stack(masks), start


def opening(tracker: Any, jpegs: Path) -> float:
    """CPU seconds of our start: the folder opened, the prompted frame encoded and prompted."""
    began = time.process_time()
    video = Video.open(jpegs)
    features = tracker._model.encode(video.read([0])[0])
    tracker._model.start(video).prompt(
        features, objects_to_track(video, [GROUNDING], tracker.prompts)[0].instances[0][0]
    )
    return time.process_time() - began


def configuration(name: str) -> Path:
    """The sam2 package's file of that name."""
    import sam2

    return Path(sam2.__path__[0], "configs", f"{name}.yaml")


def compare(tracker: Any, net: Any, jpegs: Path, length: int, turns: int) -> dict[str, Any]:
    ours, theirs, starts, their_starts = [], [], [], []
    equal, different = True, 0
    for turn in range(turns + 1):
        began = time.process_time()
        masks = tracker(Video.open(jpegs), [GROUNDING])
        seconds = time.process_time() - began
        began = time.process_time()
        want, start = notebook(net, jpegs)
        if turn:  # the first turn is for caches
            ours.append(seconds / length)
            theirs.append((time.process_time() - began) / length)
            starts.append(opening(tracker, jpegs))
            their_starts.append(start)
        equal = equal and bool((masks.dense()[0] == want).all())
        different = len(set(masks.counts[0]))
    return {
        "what": f"sam2 on {length} frames against Meta's predictor, all CPU time a frame",
        "ours_s": measure.spread(ours),
        "baseline_s": measure.spread(theirs),
        "ratio": measure.spread([slow / fast for slow, fast in zip(theirs, ours, strict=True)]),
        "start_ours_s": measure.spread(starts),
        "start_baseline_s": measure.spread(their_starts),
        "masks_equal": equal,
        "different_masks": different,
        "target": 1,
    }


def main() -> None:
    import torch

    parser = measure.arguments(__doc__)
    parser.add_argument("--config", help="a configuration of the sam2 package, such as sam2.1/sam2.1_hiera_t")
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 100])
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lengths, turns = ((4, 6), 1) if given.small else (given.frames, given.turns)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        importlib.import_module("tiny_sam2").save_tiny_sam2(model, like=given.config and configuration(given.config))
        tracker, net = build("tracker", f"sam2:model={model}"), predictor(model)
        for length in lengths:
            jpegs = Path(folder) / f"{length}"
            jpegs.mkdir()
            for t, frame in enumerate(render(np.arange(length))):
                Image.fromarray(frame).save(jpegs / f"{t:05d}.jpg")
            rows.append({**compare(tracker, net, jpegs, length, turns), "network": given.config or "toy"})
    measure.report(rows, given.out)


if __name__ == "__main__":
    main()
