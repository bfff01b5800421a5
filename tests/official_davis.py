"""Protocol A of Ref-DAVIS17 the official way, on folders of PNG files: an oracle that shares no code with the library.

First what ReferFormer and VideoLISA do with the masks of single expressions (one palette PNG a frame for each of four
annotators), then davis2017-evaluation with the task "unsupervised". Written from what those scripts do, with SciPy.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation
from scipy.optimize import linear_sum_assignment

PROPOSALS = 20


class Stopped(Exception):
    """Where the official scripts end with an error or `sys.exit`."""


def post_process(listed: Path, single: Path, out: Path) -> None:
    """`<video>/<expression>/<frame>.png` (0 and 255) to `anno_<k>/<video>/<number>.png`, whose pixels hold 1, 2, ..."""
    for video, entry in json.loads(listed.read_text())["videos"].items():
        names = list(entry["expressions"])
        for annotator in range(4):
            masks = []
            for place in range(len(names) // 4):
                folder = single / video / names[4 * place + annotator]
                files = sorted(folder.iterdir()) if folder.is_dir() else []
                if len(files) != len(entry["frames"]):
                    raise Stopped(f"{folder}: {len(files)} masks")
                masks.append(np.stack([np.array(Image.open(file)) for file in files]) / 100)
            stack = np.stack(masks)
            stack[stack < 0.5] = 0
            labels = np.concatenate([np.full((1, *stack.shape[1:]), 0.1), stack]).argmax(0).astype(np.uint8)
            for number, label in enumerate(labels):
                place = out / f"anno_{annotator}" / video / f"{number:05d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                image = Image.fromarray(label)
                image.putpalette([(37 * i) % 256 for i in range(768)])
                image.save(place)


def evaluate(masks: Path, videos: list[str], answers: Path) -> dict[str, float]:
    """J, F and J&F, each the mean over four annotators of their mean over objects."""
    per_annotator = []
    for annotator in range(4):
        objects = [
            values for video in videos for values in _video(masks / video, answers / f"anno_{annotator}" / video)
        ]
        per_annotator.append(np.mean(objects, 0))
    j, f = np.mean(per_annotator, 0)
    return {"J": float(j), "F": float(f), "J&F": float((j + f) / 2)}


def _video(masks: Path, answers: Path) -> list[tuple[float, float]]:
    files = sorted(masks.glob("*.png"))
    truth = np.stack([np.array(Image.open(file)) for file in files])
    void = truth == 255
    truth = np.where(void, 0, truth)
    found = []
    for file in files:
        if not (answers / file.name).exists():
            raise Stopped(f"{answers / file.name} not found")
        found.append(np.array(Image.open(answers / file.name)))
    answer = np.stack(found)
    objects = [truth == number for number in range(1, int(truth[0].max()) + 1)]
    proposals = [answer == number for number in range(1, int(answer.max()) + 1)]
    if len(proposals) > PROPOSALS:
        raise Stopped(f"{len(proposals)} proposals")
    proposals += [np.zeros(truth.shape, bool)] * (len(objects) - len(proposals))
    if not objects:
        return []
    table = np.array([[measures(p & ~void, t & ~void) for t in objects] for p in proposals])
    rows, columns = linear_sum_assignment(-table.mean(2))
    return [tuple(table[row, column]) for row, column in zip(rows, columns, strict=True)]


def measures(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """J and F of bool[t h w] masks, means over frames."""
    return (
        float(np.mean([region(a, b) for a, b in zip(one, other, strict=True)])),
        float(np.mean([contour(a, b) for a, b in zip(one, other, strict=True)])),
    )


def region(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def contour(one: np.ndarray, other: np.ndarray) -> float:
    reach = int(np.ceil(0.008 * np.linalg.norm(one.shape)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = y**2 + x**2 <= reach**2
    a, b = _edges(one), _edges(other)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    precision = np.count_nonzero(a & binary_dilation(b, disc)) / np.count_nonzero(a)
    recall = np.count_nonzero(b & binary_dilation(a, disc)) / np.count_nonzero(b)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _edges(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the one to the right, below, or below to the right; beyond the picture, none does."""
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, across = wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]
    return (mask != right) | (mask != below) | (mask != across)
