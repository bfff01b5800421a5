"""Box IoU of trackers on real clips with boxes read by eye: how far a tracker gets on footage it was never fitted to.

The clips are not part of the project: they are the gallery of the SAM 2 demo (facebookresearch/sam2,
demo/data/gallery); `benchmarks/data/gallery_boxes.json` holds the numbers read off them. Every target is prompted
with its first box; the mean leaves that frame out. A frame where the target is not in sight scores 1 for an empty mask.

    python benchmarks/trackers_real.py FOLDER_OF_CLIPS --tracker flow
    python benchmarks/trackers_real.py FOLDER_OF_CLIPS --tracker static --overlays out/
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import revseg
from revseg.masks import MaskTrack
from revseg.types import Grounding
from revseg.video import Video

BOXES = Path(__file__).parent / "data" / "gallery_boxes.json"


def static(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
    """The prompt's box on every frame: the floor that a tracker has to beat."""
    h, w = video.size
    x1, y1, x2, y2 = np.rint(groundings[0].boxes[0] * [w, h, w, h]).astype(int)
    mask = np.zeros((1, h, w), bool)
    mask[:, y1:y2, x1:x2] = True
    one = MaskTrack.from_dense(mask)
    return MaskTrack((one.counts[0] * len(video),), video.size, np.arange(len(video)))


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(side.clip(0).prod())
    return both / max(float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both), 1e-12)


def score(
    tracker: Callable[..., MaskTrack], video: Video, size: Sequence[int], boxes: dict[str, Any]
) -> dict[str, Any]:
    """Mean box IoU of one target, the IoU per frame, and frames a second of processor time, decoding included."""
    unit = {int(i): None if b is None else np.asarray(b) / np.tile(size, 2) for i, b in boxes.items()}
    prompt = min(unit)
    first = unit[prompt]
    assert first is not None
    began = time.process_time()
    track = tracker(video, [Grounding(prompt, first[None].astype(np.float32))])
    spent = time.process_time() - began
    found = track.at(list(unit))
    ious = {
        i: float(not seen) if truth is None else box_iou(box, truth)
        for (i, truth), box, seen in zip(unit.items(), found.boxes, found.visible, strict=True)
    }
    later = [iou for i, iou in ious.items() if i != prompt]
    return {"iou": float(np.mean(later)), "frames": ious, "fps": len(video) / spent, "track": track}


def overlays(
    video: Video, track: MaskTrack, ids: Sequence[int], boxes: dict[str, Any], size: Sequence[int], out: Path
) -> None:
    """PNG files with the mask in red, its box, and the box read by eye in green."""
    import cv2

    out.parent.mkdir(parents=True, exist_ok=True)
    h, w = video.size
    for i in ids:
        frame = video.read([i])[0].copy()
        mask = track.dense([i])[0, 0]
        frame[mask] = (0.5 * frame[mask] + [127, 0, 0]).astype(np.uint8)
        found = (track.at([i]).boxes[0] * [w, h, w, h]).astype(int).tolist()
        cv2.rectangle(frame, found[:2], found[2:], (255, 0, 0), 2)
        if boxes[str(i)] is not None:
            truth = (np.asarray(boxes[str(i)]) / np.tile(size, 2) * [w, h, w, h]).astype(int).tolist()
            cv2.rectangle(frame, truth[:2], truth[2:], (0, 255, 0), 2)
        shown = cv2.resize(frame, (640, round(h * 640 / w)), interpolation=cv2.INTER_AREA)
        cv2.imwrite(f"{out}_{i:05d}.png", shown[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="the folder with the clips (NAME.mp4)")
    parser.add_argument("--tracker", default="flow", help="a tracker spec, or `static`")
    parser.add_argument("--boxes", type=Path, default=BOXES, help="boxes read by eye (JSON)")
    parser.add_argument("--only", default="", help="clips or targets, separated by commas")
    parser.add_argument("--overlays", type=Path, help="a folder for pictures of the scored frames")
    parser.add_argument("--threads", type=int, default=1, help="OpenCV's threads")
    args = parser.parse_args()
    import cv2

    cv2.setNumThreads(args.threads)
    tracker = static if args.tracker == "static" else revseg.build("tracker", args.tracker)
    means = []
    print(f"{'clip':20} {'target':8} {'box IoU':>7} {'fps':>6}  per frame")
    for name, clip in json.loads(args.boxes.read_text())["clips"].items():
        for target, boxes in clip["targets"].items():
            if args.only and not {name, target} & set(args.only.split(",")):
                continue
            video = Video.open(args.clips / f"{name}.mp4")
            result = score(tracker, video, clip["size"], boxes)
            means.append(result["iou"])
            frames = " ".join(f"{i}:{iou:.2f}" for i, iou in result["frames"].items())
            print(f"{name:20} {target:8} {result['iou']:7.3f} {result['fps']:6.1f}  {frames}", flush=True)
            if args.overlays:
                ids = [int(i) for i in boxes]
                overlays(video, result["track"], ids, boxes, clip["size"], args.overlays / f"{name}_{target}")
    print(f"{'mean':29} {np.mean(means):7.3f}")


if __name__ == "__main__":
    main()
