"""Where the benchmarks lie below one folder, and named mixtures of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.errors import InputError, RevsegError
from revseg.registry import build
from revseg.types import Dataset

FOLDERS: Mapping[str, tuple[str, ...]] = {  # usual names; case, "-" and "_" do not matter
    "ref_youtube_vos": ("ref-youtube-vos", "ref-ytvos"),
    "mevis": ("MeViS", "mevis_v1"),
    "ref_davis17": ("ref-davis17", "ref-davis"),
    "revos": ("ReVOS",),
    "lv_vis": ("LV-VIS",),
    "reason_vos": ("ReasonVOS",),
    "reason_seg": ("ReasonSeg",),
    "long_rvos": ("Long-RVOS",),
    "groundmore": ("GroundMoRe",),
    "ref_sav": ("Ref-SAV",),
    "fevos": ("FeVOS",),
    "ok_vos": ("OK-VOS",),
}


@dataclass(frozen=True)
class Part:
    """One dataset of a preset, with the options of its reader besides `root`."""

    name: str
    options: Mapping[str, Any]


PRESETS: Mapping[str, tuple[Part, ...]] = {
    # ReVSeg's training data; which parts of each set it took is not printed, train is the part with public masks
    "paper": (
        Part("ref_youtube_vos", {"split": "train"}),
        Part("mevis", {"split": "train", "version": 1}),
        Part("ref_davis17", {"split": "train"}),
        Part("revos", {"split": "train"}),
        Part("lv_vis", {"split": "train"}),
    )
}


def folder_of(root: str | Path, name: str) -> Path | None:
    """The folder of a benchmark below `root`; None without one. InputError when several folders have its name."""
    names = {_plain(other) for other in (name, *FOLDERS[name])}
    found = [path for path in sorted(Path(root).iterdir()) if path.is_dir() and _plain(path.name) in names]
    if len(found) > 1:
        raise InputError(f"{root}: expected one folder of {name}, found {found[0].name} and {found[1].name}")
    return found[0] if found else None


def preset(name: str, root: str | Path) -> tuple[list[str], list[Dataset]]:
    """The names and the datasets of a preset below `root`. InputError that names everything that is missing."""
    if name not in PRESETS:
        raise InputError(f"expected preset to be one of {', '.join(PRESETS)}; got {name!r}")
    if not root or not Path(root).is_dir():
        raise InputError(f"{root}: expected the folder with the datasets of the preset {name!r}; give it as root=...")
    parts: list[Dataset] = []
    missing: list[str] = []
    for part in PRESETS[name]:
        folder = folder_of(root, part.name)
        if folder is None:
            missing.append(f"{part.name} (expected a folder {FOLDERS[part.name][0]})")
            continue
        try:
            parts.append(build("dataset", {"name": part.name, "root": str(folder), **part.options}))
        except RevsegError as error:
            missing.append(f"{part.name} ({error})")
    if missing:
        raise InputError(f"{root}: {len(missing)} of {len(PRESETS[name])} datasets missing: {'; '.join(missing)}")
    return [part.name for part in PRESETS[name]], parts


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
