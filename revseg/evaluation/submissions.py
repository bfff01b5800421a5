"""Archives for the servers of Ref-YouTube-VOS and MeViS, in their two opposite layouts, and a validator for each.

- "ref_youtube_vos": `Annotations/<video>/<expression>/<frame>.png`;
- "mevis": `<video>/<expression>/<frame>.png`, videos at the root.

Every picture has one channel of 0 and 255, and every frame has a picture, also where nothing was found.

Names come from the sample: `meta["video"]`, `meta["exp_id"]` and `meta["frames"]` (the frames' names without
suffix), or else the video's id, the query's id (without a leading "<video>/") and five digits. They are data from
outside and therefore checked: no member may leave the folder that the archive is unpacked into.
"""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from revseg import output
from revseg.errors import InputError, SpecError
from revseg.evaluation.results import Results
from revseg.evaluation.row import Row
from revseg.masks import MaskTrack
from revseg.masks.rle import brief
from revseg.untrusted.reading import well_formed

ROOTS = {"ref_youtube_vos": "Annotations", "mevis": ""}
_BAD = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')  # separators of other systems, drives, characters that some cannot store
_DEVICES = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}
LONGEST, LONGEST_PATH = 255, 1000  # bytes of a file name and characters of a path that today's systems allow
_STAMP = (1980, 1, 1, 0, 0, 0)  # of all members, so that equal results give equal archives


def write_submission(results: Results, out: str | Path, format: str, *, overwrite: bool = False) -> Path:
    """Write the archive and return its path. It appears only when it is complete and has passed the validator.

    InputError for an unfinished file, an unsafe file name, two queries with one name, or a sample whose size is
    unknown; OutputError when `out` exists (unless `overwrite`) or cannot be written; SpecError for an unknown format.
    """
    root = _root(format)
    if not results.finished:
        raise InputError(
            f"{results.path} is not finished: {len(results)} of {results.samples} rows; run it again first"
        )
    path = Path(out)
    written: set[str] = set()
    with output.fresh_file(path, overwrite=overwrite) as part:
        with zipfile.ZipFile(part, "x", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
            for row in results:
                for name, mask in _pictures(row, root):
                    if name in written:
                        raise InputError(f"query {row.query!r}: {name} is in the archive already; ids have to differ")
                    written.add(name)
                    archive.writestr(zipfile.ZipInfo(name, _STAMP), _png(mask))
        problems = check_submission(part, format)
        if problems:
            raise InputError(f"the archive would not pass: {problems[0]} ({len(problems)} problems)")
    return path


def check_submission(path: str | Path, format: str, results: Results | None = None) -> list[str]:
    """The problems of an archive, one line each; empty when there are none. Nothing is unpacked.

    Checks names, layout, pictures (one channel of 0 and 255), and that all expressions of a video have one size and one
    set of frames; with `results`, that the archive has exactly their frames.
    """
    root = _root(format)
    try:
        with zipfile.ZipFile(path) as archive:
            problems = list(_problems(archive, root))
            held = {info.filename for info in archive.infolist() if not info.is_dir()}
    except (OSError, zipfile.BadZipFile) as error:
        return [f"not a zip archive: {error}"]
    if results is not None:
        wanted = {name for row in results for name in _names(row, root)}
        problems += [f"{name}: missing" for name in sorted(wanted - held)]
        problems += [f"{name}: not one of the results" for name in sorted(held - wanted)]
    return problems


def safe_member(*parts: str) -> str:
    """The parts joined by "/" as the name of an archive member; a part may contain "/" itself.

    InputError for anything that could be unpacked elsewhere or under another name: "..", ".", an absolute path, a
    drive, a backslash, control characters, an empty part, a trailing dot or space, the device names of Windows.
    """
    if sum(len(part) + 1 for part in parts) > LONGEST_PATH:
        raise InputError(f"{brief(parts[0])} and what follows cannot be the name of a file: it is too long")
    for part in parts:
        if well_formed(part) != part:
            raise InputError(f"{brief(part)} cannot be the name of a file in an archive: it is no Unicode")
        for step in part.split("/"):
            reserved = step.split(".")[0].casefold() in _DEVICES
            if len(step.encode("utf-8", "replace")) > LONGEST:
                raise InputError(f"{brief(part)} cannot be the name of a file: it has more than {LONGEST} bytes")
            if step in ("", ".", "..") or _BAD.search(step) or step != step.strip() or step.endswith(".") or reserved:
                raise InputError(f"{brief(part)} cannot be the name of a file in an archive: it could land elsewhere")
    return "/".join(parts)


def _root(format: str) -> str:
    if format not in ROOTS:
        raise SpecError(f"unknown format {format!r}; known: {', '.join(ROOTS)}")
    return ROOTS[format]


def _names(row: Row, root: str) -> list[str]:
    video, meta = row.data.get("video"), row.meta
    if not video:
        raise InputError(f"row {row.index} could not be loaded ({row.failure}): evaluate again with retry")
    frames = meta.get("frames")
    if frames is None:
        frames = [f"{i:05d}" for i in range(video["frames"])]
    if not isinstance(frames, list) or not all(isinstance(frame, str | int) for frame in frames):
        raise InputError(f"query {row.query!r}: expected meta['frames'] to be names of frames, got {brief(frames)}")
    if len(frames) != video["frames"]:
        raise InputError(f"query {row.query!r}: expected {video['frames']} names of frames, got {len(frames)}")
    folder = [root] if root else []
    name = str(meta.get("video", row.video))
    expression = str(meta.get("exp_id", (row.query or "").removeprefix(f"{name}/")))
    place = (*folder, name, expression)
    if any("/" in str(frame) for frame in frames):
        raise InputError(f"query {row.query!r}: a frame's name holds a slash: it could land elsewhere")
    return [safe_member(*place, f"{frame}.png") for frame in frames]


def _pictures(row: Row, root: str) -> Iterator[tuple[str, np.ndarray]]:
    names, masks = _names(row, root), row.masks
    if masks is None:  # a crash: all black, as for "not in the video"
        masks = MaskTrack.empty(tuple(row.data["video"]["size"]), range(len(names)))
    one = masks.union()
    for frame, name in enumerate(names):
        yield name, one.dense([int(frame)])[0, 0]


def _png(mask: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
    return out.getvalue()


def _problems(archive: zipfile.ZipFile, root: str) -> Iterator[str]:
    frames: dict[tuple[str, ...], set[str]] = {}
    sizes: dict[tuple[str, ...], set[tuple[int, int]]] = {}
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if not names:
        yield "the archive is empty"
    yield from (f"{name}: twice" for name, times in Counter(names).items() if times > 1)
    for name in names:
        try:
            parts = safe_member(name).split("/")
        except InputError as error:
            yield str(error)
            continue
        wrong = _layout(parts, root)
        if wrong:
            yield f"{name}: {wrong}"
            continue
        found = _picture(archive, name)
        if isinstance(found, str):
            yield f"{name}: {found}"
            continue
        frames.setdefault(tuple(parts[:-1]), set()).add(parts[-1])
        sizes.setdefault(tuple(parts[:-2]), set()).add(found)
    yield from _uneven(frames, sizes)


def _layout(parts: Sequence[str], root: str) -> str | None:
    if not parts[-1].endswith(".png"):
        return "expected a .png file"
    if root and parts[0] != root:
        return f"expected everything below {root}/"
    if not root and parts[0] == ROOTS["ref_youtube_vos"]:
        return "expected the videos at the root, without Annotations/"
    if len(parts) < (4 if root else 3):
        return f"expected {root + '/' if root else ''}<video>/<expression>/<frame>.png"
    return None


def _picture(archive: zipfile.ZipFile, name: str) -> tuple[int, int] | str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            if picture.format != "PNG" or picture.mode != "L":
                return f"expected a PNG of one 8-bit channel, got {picture.format} of mode {picture.mode}"
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, Image.DecompressionBombError) as error:
        return f"cannot be read: {error}"
    other = np.setdiff1d(np.unique(pixels), [0, 255])
    return f"expected pixels of 0 and 255, got {other[:3].tolist()}" if len(other) else pixels.shape


def _uneven(
    frames: Mapping[tuple[str, ...], set[str]], sizes: Mapping[tuple[str, ...], set[tuple[int, int]]]
) -> Iterator[str]:
    for video, found in sizes.items():
        if len(found) > 1:
            yield f"{'/'.join(video)}: pictures of several sizes {sorted(found)}"
        sets = {expression: held for expression, held in frames.items() if expression[:-1] == video}
        longest = max(sets.values(), key=len)
        for expression, held in sets.items():
            if held != longest:
                lost = sorted(longest ^ held)
                yield f"{'/'.join(expression)}: frames differ from the video's other expressions, such as {lost[0]}"
