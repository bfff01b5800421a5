"""Small trees in the official layout of each benchmark, traps included. A moving square on every video."""

import importlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from revseg.masks import MaskTrack, encode

SIZE = (24, 32)  # height, width
FRAMES = ("00000", "00005", "00010", "00015")
SIDE = 8


def square(frame: int, obj: int = 1, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Where object `obj` is on a frame: it moves to the right; objects 1 and 2 overlap."""
    mask = np.zeros(size, bool)
    mask[4 * obj : 4 * obj + SIDE, 2 * frame : 2 * frame + SIDE] = True
    return mask


def picture(frame: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.full((*size, 3), 40, np.uint8)
    image[square(frame, 1, size)] = (220, 30, 30)
    return image


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def write_frames(folder: Path, frames: Iterable[str] = FRAMES, size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(frames):
        Image.fromarray(picture(index, size)).save(folder / f"{name}.jpg", quality=95)


def write_palette(path: Path, labels: np.ndarray) -> None:
    """A palette PNG whose colours say nothing about its values: only the indices count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8)).convert("L")
    image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(path)


def write_binary(path: Path, mask: np.ndarray, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * value).astype(np.uint8)).save(path)


def code(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode(mask).decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """COCO's other form: runs down the columns, the first of zeros."""
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.array([0, *ends.tolist(), len(flat)])).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def labels(frame: int, *objects: int) -> np.ndarray:
    image = np.zeros(SIZE, np.uint8)
    for obj in objects:
        image[square(frame, obj)] = obj
    return image


def ref_youtube_vos(root: Path) -> dict[str, Any]:
    """The valid file lists a test video too; obj_id is text, and valid has none; ids 10 and 2 sort as text."""
    meta = root / "meta_expressions"
    said = {"0": {"exp": "the red square", "obj_id": "1"}, "1": {"exp": "the other one", "obj_id": "2"}}
    write_json(meta / "train" / "meta_expressions.json", {"videos": {"v1": {"frames": FRAMES, "expressions": said}}})
    asked = {key: {"exp": f"query {key}"} for key in ("0", "1", "10", "2")}
    both = {video: {"frames": FRAMES, "expressions": asked} for video in ("v2", "t1")}
    write_json(meta / "valid" / "meta_expressions.json", {"videos": both})
    write_json(meta / "test" / "meta_expressions.json", {"videos": {"t1": both["t1"]}})
    objects = {"1": {"category": "square", "frames": FRAMES}, "2": {"category": "thing", "frames": FRAMES[1:]}}
    write_json(root / "train" / "meta.json", {"videos": {"v1": {"objects": objects}}})
    for split, video in (("train", "v1"), ("valid", "v2"), ("valid", "t1")):
        write_frames(root / split / "JPEGImages" / video)
    for index, name in enumerate(FRAMES):
        shown = labels(index, 1, 2) if index else labels(index, 1)  # object 2 appears on the second frame
        write_palette(root / "train" / "Annotations" / "v1" / f"{name}.png", shown)
    return {"split": "train"}


def mevis(root: Path, file: str = "meta_expressions.json") -> dict[str, Any]:
    """Nulls in mask_dict, overlapping objects, an expression without a target, a split without masks."""
    listed = {
        "vid_id": 0,
        "frames": FRAMES,
        "expressions": {
            "0": {"exp": "moves right", "obj_id": [0], "anno_id": [7]},
            "1": {"exp": "both of them", "obj_id": [0, 1], "anno_id": [7, 8]},
            "2": {"exp": "the one that flies", "obj_id": [], "anno_id": []},
        },
    }
    masks = {
        "7": [code(square(i)) if i != 1 else None for i in range(len(FRAMES))],
        "8": [uncompressed(square(i, 2)) for i in range(len(FRAMES))],
    }
    for split in ("train", "valid_u"):
        write_json(root / split / file, {"videos": {"0ab4": listed}})
        write_json(root / split / "mask_dict.json", masks)
        write_frames(root / split / "JPEGImages" / "0ab4")
    bare = {key: {"exp": fields["exp"]} for key, fields in listed["expressions"].items()}
    write_json(root / "valid" / file, {"videos": {"0fea": {"vid_id": 1, "frames": FRAMES, "expressions": bare}}})
    write_frames(root / "valid" / "JPEGImages" / "0fea")
    return {"split": "valid_u"}


TEXTS = {
    "Davis17_annot1.txt": (
        ['clasic-car 2 "the caf\u00e9\'s car"', 'clasic-car 1 "a red car"', 'boat 1 "a boat"'],
        "utf-8",
    ),
    "Davis17_annot1_full_video.txt": (
        ['classic-car 1 "red, all along"', 'classic-car 2 "grey"', 'boat 1 "it"'],
        "utf-8",
    ),
    "Davis17_annot2.txt": (['classic-car 1 "auto"', 'classic-car 2 "caf\u00e9 car"', 'boat 1 "ship"'], "latin-1"),
    "Davis17_annot2_full_video.txt": (['classic-car 1 "a"', 'classic-car 2 "b"', "", 'boat 1 "c"'], "latin-1"),
}


def ref_davis17(root: Path) -> dict[str, Any]:
    """A misspelt name, a Latin-1 file, lines out of order, void, and an object that is not on the first frame."""
    base = root / "DAVIS"
    (base / "ImageSets" / "2017").mkdir(parents=True)
    (base / "ImageSets" / "2017" / "val.txt").write_text("classic-car\nboat\n")
    (base / "ImageSets" / "2017" / "train.txt").write_text("")
    frames = [f"{i:05d}" for i in range(4)]
    for video in ("classic-car", "boat"):
        write_frames(base / "JPEGImages" / "480p" / video, frames)
        for index, name in enumerate(frames):
            shown = labels(index, 1, 2) if video == "classic-car" and index else labels(index, 1)
            shown[0, 0] = 255
            write_palette(base / "Annotations_unsupervised" / "480p" / video / f"{name}.png", shown)
    (root / "davis_text_annotations").mkdir()
    for file, (lines, encoding) in TEXTS.items():
        (root / "davis_text_annotations" / file).write_bytes("\n".join(lines).encode(encoding))
    return {}


def revos(root: Path) -> dict[str, Any]:
    """Ids with slashes, type 2, a TAO video whose masks belong to every 30th frame, trailing underscores."""
    many = [f"{i:05d}" for i in range(61)]
    write_frames(root / "JPEGImages" / "UVO" / "all" / "-CiP", FRAMES)
    write_frames(root / "JPEGImages" / "TAO" / "a1", many, (24, 160))
    masks: dict[str, Any] = {
        "0": [code(square(i)) for i in range(4)],
        "1": [code(square(i, 2)) if i else None for i in range(4)],
        "2": [code(square(30 * i, 1, (24, 160))) if i < 3 else None for i in range(61)],
    }
    write_json(root / "mask_dict.json", masks)
    union = [code(square(i) | square(i, 2)) if i else [code(square(i)), code(square(i, 2))] for i in range(4)]
    write_json(
        root / "mask_dict_foreground.json", {"UVO/all/-CiP": {"masks_rle": union, "foreground_ratio": [0.1] * 4}}
    )
    uvo = {
        "0": {"exp": "the square", "obj_id": [1], "anno_id": [0], "type_id": 0},
        "1": {"exp": "which ones overlap?", "obj_id": [1, 2], "anno_id": [0, 1], "type_id": 1},
        "2": {"exp": "the elephant", "obj_id": [], "anno_id": [], "type_id": 2},
    }
    tao = {"0": {"exp": "the square", "obj_id": [1], "anno_id": [2], "type_id": 0}}
    videos = {
        "UVO/all/-CiP": {"frames": FRAMES, "expressions": uvo},
        "TAO/a1": {"frames": many, "expressions": tao},
    }
    for split in ("train", "valid"):
        write_json(root / f"meta_expressions_{split}_.json", {"videos": videos})
    return {}


def lv_vis(root: Path) -> dict[str, Any]:
    said = {"0": {"exp": "baseball_bat", "obj_id": [0], "anno_id": [0]}}
    write_json(root / "train" / "meta_expressions.json", {"videos": {"00000": {"frames": FRAMES, "expressions": said}}})
    write_json(root / "train" / "mask_dict.json", {"0": [code(square(i)) for i in range(4)]})
    write_frames(root / "train" / "JPEGImages" / "00000")
    return {}


def reason_vos(root: Path) -> dict[str, Any]:
    """A list of expressions, one expression id for two objects, masks on some frames, one folder in lower case."""
    said = [
        {"obj_id": 1, "exp_id": 0, "exp_text": "Which one is red?", "is_sent": 1},
        {"obj_id": 2, "exp_id": 0, "exp_text": "the hidden one", "is_sent": 0},
    ]
    write_json(
        root / "meta_expressions.json",
        {"videos": {"vid": {"source": "BURST", "frames": FRAMES, "expressions": said}}},
    )
    write_frames(root / "JPEGImages" / "vid")
    for index in (0, 2):
        write_binary(root / "Annotations" / "BURST_vid_1" / f"{FRAMES[index]}.png", square(index))
        write_binary(root / "Annotations" / "burst_vid_2" / f"{FRAMES[index]}.png", square(index, 2))
    return {}


def long_rvos(root: Path) -> dict[str, Any]:
    """An absent file is an empty mask; test has no masks."""
    said = {
        "0": {"exp": "red", "obj_id": "1", "type": "static"},
        "1": {"exp": "goes right", "obj_id": 1, "type": "dynamic"},
    }
    for split in ("train", "valid", "test"):
        write_json(root / split / "meta_expressions.json", {"videos": {"v": {"frames": FRAMES, "expressions": said}}})
        write_frames(root / split / "JPEGImages" / "v")
        for index in (0, 1, 3):
            if split != "test":
                write_binary(root / split / "Annotations" / "v" / "1" / f"{FRAMES[index]}.png", square(index))
    return {}


def groundmore(root: Path) -> dict[str, Any]:
    """Two clips of 24 frames, of which 20 count, named otherwise than their masks, which go by index.

    The action of question 0 starts one second into the first clip and lasts one; question 1's goes on to its end. Masks
    are there for every frame, also outside the action; the second clip's have seven digits and no prefix, with a gap.
    """
    first, second = "abc_film_0130_0134", "Cats-1_0000_0004"
    said = {
        "0": _question("Who moves?", 1, "Causal", "1:31", "1:32"),
        "1": _question("What is behind?", 2, "Descriptive", "0:01:32", "0:01:34"),
    }
    other = {"0": _question("And then?", "1", "Sequential", "00:00", "00:02")}
    write_json(root / "test_v2.json", {"videos": {first: {"questions": said}, second: {"questions": other}}})
    for video, form in ((first, "frame_{:06d}.png"), (second, "{:07d}.png")):
        write_frames(root / "annotations" / video / "images", [f"img_{10 * i + 3:05d}" for i in range(24)])
        for index in range(24):
            if video == first or index != 5:
                path = root / "annotations" / video / "masks" / form.format(index)
                write_palette(path, labels(index % 4, 1, 2))
    return {}


def _question(text: str, obj: Any, kind: str, start: str, end: str) -> dict[str, Any]:
    times = {"action_start": start, "action_end": end}
    return {"question": text, "answer": "the square", "obj_id": obj, "q_type": kind, **times}


def ref_sav(root: Path) -> dict[str, Any]:
    """MeViS's layout with `videos/`; ids as numbers or text; long expressions and short ones."""
    said = {
        "0": {"exp": "the square that, all along, goes right", "obj_id": [0], "anno_id": [0], "type_id": 0},
        "1": {"exp": "it", "obj_id": [0], "anno_id": ["0"], "type_id": 1},
        "2": {"exp": "the two", "obj_id": [0, 1], "anno_id": ["0", "1"], "type_id": 1},
    }
    videos = {"sav_000001": {"frames": FRAMES, "expressions": said}}
    write_json(root / "valid" / "meta_expressions_valid.json", {"videos": videos})
    masks = {"0": [code(square(i)) if i != 1 else None for i in range(4)], "1": [code(square(i, 2)) for i in range(4)]}
    write_json(root / "valid" / "mask_dict.json", masks)
    write_frames(root / "valid" / "videos" / "sav_000001")
    return {}


def fevos(root: Path) -> dict[str, Any]:
    """One file of masks for both splits; answers in words; the video's size beside its frames."""
    said = {
        "0": {"exp": "Which one will be hit?", "ans": "the red one", "obj_id": [1], "anno_id": [3]},
        "1": {"exp": "What will move on?", "ans": "both", "obj_id": [1, 2], "anno_id": [3, 4]},
    }
    for split, video in (("train", "tr_0"), ("val", "va_0")):
        entry = {"vid_id": 0, "height": SIZE[0], "width": SIZE[1], "frames": FRAMES, "expressions": said}
        write_json(root / f"meta_expressions_{split}.json", {"videos": {video: entry}})
        write_frames(root / "JPEGImages" / video)
    masks = {"3": [code(square(i)) if i else None for i in range(4)], "4": [code(square(i, 2)) for i in range(4)]}
    write_json(root / "mask_dict.json", masks)
    return {}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def ok_vos(root: Path) -> dict[str, Any]:
    """Frames listed out of order, masks on some of them, other values than 255, a question of each ability."""
    abilities = ("one-hop", "multi-hop", "relational", "in-video")
    rows = [
        {
            "id": f"q{number}",
            "question": "Which one was built first?",
            "video": "v/1",
            "images": [FRAMES[i] for i in (2, 0, 3, 1)],
            "oid": 1 + number % 2,
            "ability": ability,
            "steps": ["search", "look"],
        }
        for number, ability in enumerate(abilities)
    ]
    for split in ("train", "test"):
        write_parquet(root / f"{split}.parquet", rows)
        write_frames(root / split / "JPEGImages" / "v" / "1")
        for index in (0, 2):
            for obj in (1, 2):
                mask = square(index, obj) * np.uint8(255)
                mask[0, 0] = 128
                write_binary(root / split / "Annotations" / "v" / "1" / f"{obj}" / f"{FRAMES[index]}.png", mask, 1)
    return {}


def rectangle(label: str, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    """A polygon of ReasonSeg; both its corners are inside."""
    return {"label": label, "points": [[left, top], [right, top], [right, bottom], [left, bottom]]}


def reason_seg(root: Path) -> dict[str, Any]:
    """A file in cp1252, several texts, small polygons before and on larger ones, pixels to ignore, a flag."""
    both = [rectangle("target", 2, 3, 4, 5), rectangle("Ignore", 0.9, 1, 6.9, 7), rectangle("FLAG", 0, 0, 31, 23)]
    pictures = {
        "b 1": ({"shapes": both, "text": ["the caf\u00e9\u2019s sign", "not asked"], "is_sentence": False}, "cp1252"),
        "a": (
            {
                "shapes": [rectangle("target", 10, 2, 20, 20), rectangle("ignored part", 12, 4, 13, 5)],
                "text": ["Which one is r\u00e9d?"],
                "is_sentence": True,
            },
            "utf-8",
        ),
    }
    for split in ("train", "val", "test"):
        for name, (content, encoding) in pictures.items():
            write_frames(root / split, [name])
            (root / split / f"{name}.json").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    return {}


def folder(root: Path) -> dict[str, Any]:
    """Every form of masks."""
    write_frames(root / "clips" / "a", FRAMES)
    for index in (0, 2):
        write_binary(root / "by_name" / f"{FRAMES[index]}.png", square(index), 1)
        for obj in (1, 2):
            write_binary(root / "by_number" / f"{obj}" / f"{index:03d}.png", square(index, obj))
        write_palette(root / "palette" / f"{FRAMES[index]}.png", labels(index, 1, 2))
    track = MaskTrack.from_dense(np.stack([square(i) for i in range(4)]))
    write_json(root / "masks.json", track.to_dict())
    codes = [code(square(0)), None, code(square(2)), None]
    forms: Mapping[str, Any] = {
        "name": "by_name",
        "number": "by_number",
        "track": "masks.json",
        "codes": codes,
        "several": [codes, [None] * 4],
        "absent": [],
    }
    samples: list[dict[str, Any]] = [
        {"id": id, "video": "clips/a", "query": f"the {id}", "masks": masks, "split": "train"}
        for id, masks in forms.items()
    ]
    samples.append({"id": "value", "video": "clips/a", "query": "two", "masks": "palette", "object": 2, "fps": 5})
    samples.append({"id": "none", "video": "clips/a", "query": "no truth", "meta": {"kind": "mine"}, "split": "test"})
    write_json(root / "dataset.json", {"samples": samples})
    return {}


TREES = {
    "ref_youtube_vos": ref_youtube_vos,
    "mevis": mevis,
    "ref_davis17": ref_davis17,
    "revos": revos,
    "lv_vis": lv_vis,
    "reason_vos": reason_vos,
    "long_rvos": long_rvos,
    "groundmore": groundmore,
    "ref_sav": ref_sav,
    "fevos": fevos,
    "reason_seg": reason_seg,
    "folder": folder,
}
if importlib.util.find_spec("pyarrow") is not None:  # an extra of its own
    TREES["ok_vos"] = ok_vos
