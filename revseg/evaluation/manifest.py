"""The header of a results file: what is needed to make the rows again, and to recognise the same run."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from revseg.errors import SpecError
from revseg.evaluation.results import FORMAT, VERSION
from revseg.pipeline import ReVSeg
from revseg.policies.checkpoints import checkpoint_of
from revseg.registry import spec_of
from revseg.serialise import versions
from revseg.spec import parse_spec
from revseg.types import Dataset

SLICE = 1 << 20  # bytes read at either end of a large file


def make_header(model: ReVSeg, dataset: Any, data: Dataset, samples: int) -> dict[str, Any]:
    """Plain JSON, equal for two runs exactly when they have to give the same rows (for parts given as specs).

    "files" has a digest of each file or folder that a spec names, and of the bundled checkpoint when it is the policy,
    so that weights trained again under the same name are recognised as new. No weights are loaded.
    """
    spec = model.resolved().to_dict()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "samples": samples,
        "dataset": spec_of(dataset),
        "dataset_length": len(data),
        "spec": spec,
        "files": files_of(spec),
        "versions": versions(),
    }
    # The address of an object differs in every process.
    return json.loads(re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(header, default=str)))


def files_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each file or folder that a model's spec names, and of a bundled checkpoint."""
    found = {path: digest(Path(path)) for path in sorted(set(_paths(dict(spec))))}
    policy = spec.get("policy")
    if isinstance(policy, Mapping) and "policy" in policy:  # one that wraps another
        return {**found, **files_of({"policy": policy["policy"]})}
    if (meant := checkpoint_of(policy)) is not None:
        found[f"checkpoint {meant[0]}"] = digest(meant[1].folder)
    return found


def digest(path: Path) -> str:
    """Digest of the content of a file or folder; of files above 2 MiB only the size and both ends are read."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        size = file.stat().st_size
        found.update(f"{file.relative_to(path) if path.is_dir() else ''} {size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            found.update(stream.read(SLICE))
            stream.seek(max(SLICE, size - SLICE))
            found.update(stream.read())
    return found.hexdigest()


def _paths(spec: Any) -> Iterator[str]:
    """The strings in a spec and its options that are paths on this disk."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            yield from _paths(value)
            if isinstance(value, (int, float)):  # rewards: the key is a spec
                yield from _paths(key)
    elif isinstance(spec, (list, tuple)):
        for value in spec:
            yield from _paths(value)
    elif isinstance(spec, str):
        if "/" in spec and Path(spec).exists():
            yield spec
        elif ":" in spec:
            yield from _inside(spec)


def _inside(spec: str) -> Iterator[str]:
    try:
        name, options = parse_spec(spec)
    except SpecError:
        return
    source = name.partition(":")[0]
    if source.endswith(".py") and Path(source).is_file():
        yield source
    for value in options.values():
        if isinstance(value, str) and Path(value).exists():
            yield value
