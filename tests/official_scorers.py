"""The official scorers of MeViS, ReVOS, ReasonVOS, Long-RVOS, GroundMoRe, Ref-SAV, OK-VOS, ReasonSeg, as oracles.

Written from what each script does; J and F are those of `official_davis`. Each gives J, F (and more) per expression as
(video, expression) -> values, leaving out what its script leaves out.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from official_davis import contour, measures, region
from PIL import Image, ImageDraw

from revseg.evaluation import Results
from revseg.evaluation.results import to_line
from revseg.evaluation.rows import _for_scoring, _row  # pyright: ignore[reportPrivateUsage]
from revseg.masks import MaskTrack, coco

Answers = Mapping[str, np.ndarray | None]  # by the query's id; None: no prediction


def written(data: Any, answers: Answers, path: Path, dataset: str) -> Results:
    """A results file as `evaluate` writes it, with these answers."""
    lines = [{"format": "revseg-results", "version": 2, "samples": len(data), "dataset": dataset}]
    for index, sample in enumerate(data):
        sample = replace(sample, meta={**sample.meta, **_for_scoring(data, sample)})
        answer = answers[sample.query.id]
        lines.append(_row(index, sample, masks=None if answer is None else MaskTrack.from_dense(answer)))
    path.write_bytes(b"".join(to_line(line) for line in lines))
    return Results.open(path)


def write_answer(folder: Path, frames: Iterable[str], masks: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for frame, mask in zip(frames, masks, strict=True):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{frame}.png")


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("L"))


def _decode(code: Any) -> np.ndarray:
    if isinstance(code["counts"], list):
        code = coco.frPyObjects(code, *code["size"])
    return coco.decode(code)


def summed(masks: Mapping[str, Any], ids: Iterable[Any], frame: int, size: tuple[int, int]) -> np.ndarray:
    """uint8[h w]: how many objects are on a pixel; entry `frame` of each list, however long it is."""
    found = np.zeros(size, np.uint8)
    for one in ids:
        code = masks[str(one)][frame]
        if code:
            found += _decode(code)
    return found


def mevis(base: Path, file: str, answers: Path) -> dict[tuple[str, str], tuple[float, float]]:
    videos, masks = json.loads((base / file).read_text())["videos"], json.loads((base / "mask_dict.json").read_text())
    found = {}
    for video, entry in videos.items():
        for key, fields in entry["expressions"].items():
            folder = answers / video / key
            if not (folder / f"{entry['frames'][0]}.png").exists():
                continue  # an error in a worker: it is in no mean
            shown = np.stack([read(folder / f"{frame}.png") for frame in entry["frames"]])
            truth = [summed(masks, fields["anno_id"], i, shown.shape[1:]) for i in range(len(shown))]
            found[video, key] = measures(shown != 0, np.stack(truth) != 0)
    return found


def revos(root: Path, answers: Path, scale: int) -> dict[str, float]:
    """J, F, A, R in percent, the mean of referring and reasoning; `scale` is what a pixel of the answer holds."""
    videos = json.loads((root / "meta_expressions_valid_.json").read_text())["videos"]
    masks = json.loads((root / "mask_dict.json").read_text())
    every = json.loads((root / "mask_dict_foreground.json").read_text())
    rows: dict[int, list[list[float]]] = {0: [], 1: [], 2: []}
    for video, entry in videos.items():
        for key, fields in entry["expressions"].items():
            folder = answers / video / key
            values = [0.0] * 4
            if folder.is_dir():
                shown = np.stack([read(folder / f"{f}.png") // 255 * np.uint8(scale) for f in entry["frames"]])
                size = shown.shape[1:]
                truth = np.stack([summed(masks, fields["anno_id"], i, size) for i in range(len(shown))])
                codes = every[video]["masks_rle"]
                areas = [
                    sum(int(_decode(c).sum()) for c in (code if isinstance(code, list) else [code])) for code in codes
                ]
                j, f = measures(shown != 0, truth != 0)
                a = np.mean([np.mean(t == s) for t, s in zip(truth, shown, strict=True)])
                lost = [((1 - t) * s).sum() / (area + 1e-6) for t, s, area in zip(truth, shown, areas, strict=False)]
                values = [j, f, float(a), float(np.mean([max(1 - one, 0.0) for one in lost]))]
            rows[fields["type_id"]].append([round(np.float64(100 * v), 2) for v in values])
    both = np.mean([np.mean(rows[kind], 0) for kind in (0, 1)], 0)
    return dict(zip("JFAR", both.tolist(), strict=True))


def reason_vos(root: Path, answers: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Every PNG of the annotation counts, listed or not; an answer that is not there is in no mean."""
    found = {}
    for video, entry in json.loads((root / "meta_expressions.json").read_text())["videos"].items():
        for fields in entry["expressions"]:
            name = f"{entry['source']}_{video}_{fields['obj_id']}"
            folder = answers / name / str(fields["exp_id"])
            if not folder.is_dir():
                continue
            files = sorted((root / "Annotations" / name).glob("*.png"))
            pairs = [(read(folder / file.name) != 0, read(file) != 0) for file in files]
            j, f = np.mean([(region(a, b), contour(a, b)) for a, b in pairs], 0)
            found[name, str(fields["exp_id"])] = float(j), float(f)
    return found


def long_rvos(base: Path, answers: Path) -> dict[tuple[str, str], tuple[float, ...]]:
    """J, F, tIoU, vIoU. An annotation that is not there is an empty mask."""
    found = {}
    for video, entry in json.loads((base / "meta_expressions.json").read_text())["videos"].items():
        for key, fields in entry["expressions"].items():
            folder = answers / video / key
            if not folder.is_dir():
                found[video, key] = (0.0,) * 4
                continue
            shown = np.stack([read(folder / f"{frame}.png") for frame in entry["frames"]]) != 0
            place = base / "Annotations" / video / str(fields["obj_id"])
            files = [place / f"{frame}.png" for frame in entry["frames"]]
            truth = np.stack([read(f) != 0 if f.exists() else np.zeros(shown.shape[1:], bool) for f in files])
            there, said = truth.any((1, 2)), shown.any((1, 2))
            either = int((there | said).sum())
            js = [region(a, b) for a, b in zip(shown, truth, strict=True)]
            both = there & said
            tiou = both.sum() / either if either else 1.0
            viou = sum(j for j, b in zip(js, both, strict=True) if b) / either if either else 1.0
            found[video, key] = (*measures(shown, truth), float(tiou), float(viou))
    return found


def groundmore(root: Path, answers: Answers, every: bool) -> dict[tuple[str, str], tuple[float, float, float, str]]:
    """J, F, the empty answer's J&F, and the type. `every`: all frames instead of 20. No answer: not there."""
    found = {}
    for video, entry in json.loads((root / "test_v2.json").read_text())["videos"].items():
        start = 60 * int(video[-9:-7]) + int(video[-7:-5])
        pictures = sorted((root / "annotations" / video / "images").iterdir())
        h, w = np.array(Image.open(pictures[0])).shape[:2]
        count = len(pictures)
        indices = np.arange(count) if every else np.linspace(0, count - 1, num=20, dtype=int)
        for key, fields in entry["questions"].items():
            shown = answers[f"{video}/{key}"]
            if shown is None:
                continue
            times = [fields["action_start"].split(":"), fields["action_end"].split(":")]
            begin, end = (sum(60**i * int(p) for i, p in enumerate(reversed(parts))) for parts in times)
            truth = np.zeros((len(indices), h, w), bool)
            for mask, index in zip(truth, indices.tolist(), strict=True):
                if (begin - start) * 6 <= index <= (end - start) * 6 - 1:
                    for name in (f"frame_{index:06d}.png", f"{index:07d}.png"):
                        path = root / "annotations" / video / "masks" / name
                        if path.exists():
                            mask[:] = np.array(Image.open(path).convert("P")) == int(fields["obj_id"])
            empty = float(np.mean(measures(np.zeros_like(truth), truth)))
            found[video, key] = (*measures(shown, truth), empty, fields["q_type"])
    return found


def ref_sav(base: Path, answers: Answers) -> dict[int, list[tuple[float, float]]]:
    """J and F by `type_id`; what is missing is 0."""
    videos, masks = (json.loads((base / f).read_text()) for f in ("meta_expressions_valid.json", "mask_dict.json"))
    found: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for video, entry in videos["videos"].items():
        for key, fields in entry["expressions"].items():
            shown = answers[f"{video}/{key}"]
            values = (0.0, 0.0)
            if shown is not None:
                truth = [summed(masks, fields["anno_id"], i, shown.shape[1:]) for i in range(len(shown))]
                values = measures(shown, np.stack(truth) != 0)
            found[fields["type_id"]].append(values)
    return found


def fevos(root: Path, answers: Answers) -> list[tuple[float, float]]:
    """J and F of every expression, on all frames; what is missing is 0. (No official scorer is published.)"""
    videos, masks = (json.loads((root / f).read_text()) for f in ("meta_expressions_val.json", "mask_dict.json"))
    found = []
    for video, entry in videos["videos"].items():
        for key, fields in entry["expressions"].items():
            shown = answers[f"{video}/{key}"]
            if shown is None:
                found.append((0.0, 0.0))
                continue
            truth = [summed(masks, fields["anno_id"], i, shown.shape[1:]) for i in range(len(shown))]
            found.append(measures(shown, np.stack(truth) != 0))
    return found


def ok_vos(base: Path, rows: Iterable[Mapping[str, Any]], answers: Answers) -> dict[str, list[tuple[float, float]]]:
    """J and F by ability on the frames with an annotation, whose 255 counts; without an answer: not there."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        shown = answers[f"{row['video']}/{row['id']}"]
        if shown is None:
            continue
        place = base / "Annotations" / row["video"] / str(row["oid"])
        held = [(i, place / f"{name}.png") for i, name in enumerate(sorted(row["images"]))]
        pairs = [(shown[i], np.array(Image.open(path).convert("P")) == 255) for i, path in held if path.exists()]
        j, f = np.mean([(region(a, b), contour(a, b)) for a, b in pairs], 0)
        found.setdefault(row["ability"], []).append((float(j), float(f)))
    return found


def reason_seg(folder: Path, answers: Answers) -> dict[str, tuple[float, int, int]]:
    """Per picture IoU, intersection, union; pixels of value 255 are taken out of both masks. By LISA's evaluation."""
    found = {}
    for path in sorted(folder.glob("*.jpg")):
        answer = answers[f"{path.stem}/0"]
        if answer is None:
            continue
        height, width = answer[0].shape
        labels = polygon_labels(json.loads(path.with_suffix(".json").read_text())["shapes"], (width, height))
        output = np.where(labels == 255, 255, answer[0])
        both = int(np.count_nonzero((output == 1) & (labels == 1)))
        areas = int(np.count_nonzero(output == 1)) + int(np.count_nonzero(labels == 1))
        union = areas - both
        found[path.stem] = (1.0 if union == 0 else both / (union + 1e-5), both, union)
    return found


def polygon_labels(shapes: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """uint8[h w] by Pillow, for axis-parallel rectangles, where all painters agree; `size` is (width, height)."""

    def paint(image: Image.Image, shape: Mapping[str, Any], value: int) -> Image.Image:
        (left, top), (right, bottom) = (tuple(int(c) for c in shape["points"][i]) for i in (0, 2))
        ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=value)
        return image

    kept = [shape for shape in shapes if shape["label"].lower() != "flag"]
    sizes = [np.array(paint(Image.new("L", size), shape, 1)).sum() for shape in kept]
    image = Image.new("L", size)
    for place in np.argsort(sizes)[::-1]:
        paint(image, kept[place], 255 if "ignore" in kept[place]["label"].lower() else 1)
    return np.array(image)
