"""A run's folder: checked before any work; it holds the settings and, at the end, the trained weights."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from revseg.errors import InputError, OutputError
from revseg.locks import give_back, hold
from revseg.masks.rle import brief
from revseg.output import write_text
from revseg.pipeline import ReVSeg
from revseg.registry import options_of, read_spec, registry, spec_of
from revseg.spec import format_spec
from revseg.training.config import OLD_NAMES, TrainConfig
from revseg.training.trainable import trainable, weights_named, weights_option
from revseg.untrusted.reading import read_json

FREE = (  # settings that change no weight, so that a run may go on with others
    "save_every",
    "samples_every",
    "log_with",
    "max_tokens_per_forward",
    "prefetch",
    "clip_cache",
    "clip_cache_gb",
    "check_memory",
)


@contextlib.contextmanager
def alone(out: Path, accelerator: Any) -> Iterator[None]:
    """Lock the run's folder while the block lasts; OutputError when another process trains there."""
    lock = hold(out / ".lock", f"the training run in {out}") if accelerator.is_main_process else None
    try:
        yield
    finally:
        give_back(lock)


def check_no_model(out: Path, what: str) -> None:
    """InputError when `out`, where `what` is to be written, holds a model already."""
    if (out / "config.json").is_file():
        raise InputError(f"{out} holds a model: choose another folder for {what}")


def settings_of(model: ReVSeg, dataset: Any, config: TrainConfig) -> dict[str, Any]:
    """The resolved configuration, as plain JSON. A dataset passed as an object is recorded by its type and length."""
    source = dataset if isinstance(dataset, str | Mapping) else f"{type(dataset).__name__} of {len(dataset)} samples"
    record = {"model": model.to_dict(), "dataset": spec_of(source), "train": config.to_dict()}
    return json.loads(json.dumps(record))


def claim(out: Path, settings: Mapping[str, Any], accelerator: Any) -> None:
    """Write train.json; InputError when `out` holds a run with other settings, or a model that is no run's."""
    record = out / "train.json"
    if record.is_file():
        changes = changed(_settings(record), settings)
        if changes:
            raise InputError(
                f"{out} holds a run with other settings ({'; '.join(changes)}): choose another folder or remove it"
            )
    else:
        check_no_model(out, "the run")
    accelerator.wait_for_everyone()  # nobody reads while it is written
    if accelerator.is_main_process:
        write_text(record, json.dumps(settings, indent=2) + "\n", overwrite=True)
    accelerator.wait_for_everyone()


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences such as "train.lr: 1e-06, now 1e-05" in settings that must stay the same when a run is resumed."""
    before, now = _fixed(old), _fixed(new)
    names = sorted({*before, *now})
    return [f"{n}: {_short(before.get(n))}, now {_short(now.get(n))}" for n in names if before.get(n) != now.get(n)]


def _settings(record: Path) -> dict[str, Any]:
    data = read_json(record, "the settings of a training run")
    tables = data if isinstance(data, dict) else {}
    if not all(isinstance(tables.get(table), dict) for table in ("model", "train")):
        raise InputError(f"{record}: expected the settings of a training run, got {brief(data)}")
    old = next((name for name in OLD_NAMES if name in tables["train"]), None)
    if old is not None:
        raise InputError(
            f"{record}: expected the run of this version of revseg, got one from before {old!r} was renamed to "
            f"{OLD_NAMES[old]!r}: choose another folder, or finish the run with the version that began it"
        )
    return tables


def _short(value: Any) -> str:
    return str(value) if isinstance(value, int | float | None) else brief(value, 200).strip("'")


def keep(model: ReVSeg, out: Path) -> None:
    """Save the trained weights with what they were taught, for `spec_after`. OutputError on a full disk."""
    policy = trainable(model.built_policy)
    taught = model.to_dict()
    policy.model.eval()
    learnt = {name: taught[name] for name in ("plan", "sampler", "num_frames")}
    limit = {"max_new_tokens": model.sampling.limit}  # longer replies were never rewarded
    known = {name: value for name, value in policy.defaults.items() if name != "rounds"}
    policy.defaults = {**known, **learnt, **limit}
    save_policy(policy, out, "the run goes on from its last checkpoint")


def save_policy(policy: Any, out: Path, then: str = "nothing else is lost") -> None:
    """Save the policy into a folder; OutputError when it cannot be written, which says what happens `then`."""
    from safetensors import SafetensorError

    try:
        policy.save(str(out))
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write the weights into {out}: {error}; make room and start again: {then}") from error


def spec_after(spec: Any, out: Path) -> Any:
    """The spec of the trained policy: that of the policy before, with its weights read from `out`.

    The policy's class says which options name weights (`revseg.types.NamesWeights`). A policy that was passed as an
    object is named by its class, or stays the object if its class cannot be built from the folder alone.
    """
    part = registry("policy").part(spec) if isinstance(spec, str | Mapping) else type(spec)
    if isinstance(spec, str | Mapping):
        name, options = read_spec("policy", spec)
    else:
        name, options = registry("policy").name_of(part) or spec_of(part), {}
        wanted = [option for option, p in options_of(part).items() if p.default is p.empty]
        if not isinstance(name, str) or set(wanted) - {"model", *weights_named(part)}:
            return spec
    first, *others = weights_option(part)
    options = {option: value for option, value in options.items() if option not in others}
    return format_spec(name, {**options, first: str(out)})


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's weights, by dotted name: all but its length, its reports and the tracker."""
    free = {f"train.{name}" for name in FREE}
    free.add("model.tracker")
    if not settings.get("train", {}).get("lr_decay"):
        free.add("train.steps")  # with lr_decay, the length decides every learning rate
    flat = {"dataset": settings.get("dataset")}
    for table in ("model", "train"):
        flat |= {f"{table}.{name}": value for name, value in settings.get(table, {}).items()}
    return {name: value for name, value in flat.items() if name not in free}
