"""Variants of an ablation, and the trials that they make: one per variant and seed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from revseg.errors import InputError
from revseg.evaluation.manifest import files_of
from revseg.pipeline import ReVSeg
from revseg.registry import options_of, registry, spec_of
from revseg.rollout.plans import InOrder
from revseg.spec import format_spec, parse_spec
from revseg.training.config import TrainConfig
from revseg.types import Sampling

_NO_PART = ("tracker", "sampling")  # of a model, in its training
_REPORTS = ("save_every", "samples_every", "log_with", "tokens")  # of a training, in its result


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    `model`: a `ReVSeg`, or the settings that differ from the ablation's `base`. `train`: True for the ablation's
    training, settings that differ from it, a whole `TrainConfig`, or False for no training. `test`: settings of the
    scored model that differ from the trained one. `dataset`, `train_on` and `seeds` replace those of the ablation.
    """

    model: ReVSeg | Mapping[str, Any] = field(default_factory=dict)
    train: TrainConfig | Mapping[str, Any] | bool = True
    test: Mapping[str, Any] = field(default_factory=dict)
    dataset: Any = None
    train_on: Any = None
    seeds: Sequence[int] | None = None

    @staticmethod
    def of(spec: Any) -> "Variant":
        """From a `Variant`, a model or its settings, or a pair (model, train) in which None means no training."""
        if isinstance(spec, Variant):
            return spec
        if isinstance(spec, ReVSeg | Mapping):
            return Variant(spec)
        if isinstance(spec, tuple | list) and len(spec) == 2 and isinstance(spec[0], ReVSeg | Mapping):
            return Variant(spec[0], False if spec[1] is None else spec[1])
        raise InputError(
            f"expected a variant as a ReVSeg, its settings, (settings, training) or a Variant; got {spec!r}"
        )


@dataclass(frozen=True, eq=False)
class Trial:
    """One variant with one seed: what is trained on what, and what is scored on what."""

    name: str
    seed: int
    trained: ReVSeg
    config: TrainConfig | None  # None: not trained
    train_on: Any
    tested: ReVSeg  # with the policy before training
    dataset: Any

    @property
    def train_key(self) -> str:
        """A digest of everything that the trained weights depend on: variants with the same one share a training."""
        assert self.config is not None
        model = {name: value for name, value in self.trained.to_dict().items() if name not in _NO_PART}
        config = {name: value for name, value in self.config.to_dict().items() if name not in _REPORTS}
        return _digest([model, config, dataset_record(self.train_on), files_of(model)])

    @property
    def key(self) -> str:
        """A digest of everything that the rows of the results file depend on."""
        model = self.tested.to_dict()
        return _digest([self.config and self.train_key, model, dataset_record(self.dataset), files_of(model)])


def make_trials(
    variants: Mapping[str, Any],
    base: ReVSeg,
    dataset: Any,
    seeds: Sequence[int],
    train: TrainConfig | None,
    train_on: Any,
) -> list[Trial]:
    """A trial for every variant and seed, checked as far as possible without building a policy or a tracker.

    Raises InputError or SpecError with the name of the variant.
    """
    if not variants:
        raise InputError("expected at least one variant")
    trials = []
    for name, spec in variants.items():
        variant = Variant.of(spec)
        wanted = seeds if variant.seeds is None else variant.seeds
        if not wanted or len(set(wanted)) != len(wanted):
            raise InputError(f"variant {name!r}: expected one seed or more, none twice; got {list(wanted)}")
        try:
            trials += [_trial(name, variant, base, dataset, seed, train, train_on) for seed in wanted]
        except (InputError, TypeError) as error:  # a SpecError already names the part
            raise InputError(f"variant {name!r}: {error}") from error
    slugs: dict[str, str] = {}
    for trial in trials:
        other = slugs.setdefault(slug(trial.name).lower(), trial.name)
        if other != trial.name:
            raise InputError(f"variants {other!r} and {trial.name!r} would share a folder: rename one of them")
    return trials


def slug(name: str) -> str:
    """A safe folder name for a variant."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.") or "variant"


def dataset_record(dataset: Any) -> Any:
    """What records say of a dataset: its spec, or the type and length of an object."""
    if isinstance(dataset, str | Mapping):
        return spec_of(dataset)
    return f"{type(dataset).__name__} of {len(dataset)} samples"


def train_split_of(dataset: Any) -> Any:
    """The spec's `train` split if its part has splits, else the dataset itself."""
    if not isinstance(dataset, str | Mapping):
        return dataset
    name, options = parse_spec(dataset) if isinstance(dataset, str) else (dataset.get("name", ""), dict(dataset))
    options.pop("name", None)
    if ":" in name or "split" not in options_of(registry("dataset").get(name)):
        return dataset
    return format_spec(name, {**options, "split": "train"})


def _trial(
    name: str, variant: Variant, base: ReVSeg, dataset: Any, seed: int, train: TrainConfig | None, train_on: Any
) -> Trial:
    model = variant.model if isinstance(variant.model, ReVSeg) else _changed(base, variant.model)
    config = _config(variant.train, train, seed)
    scored = dataset if variant.dataset is None else variant.dataset
    source = train_on if variant.train_on is None else variant.train_on
    # All trained variants are scored by the rewards of `base`, so that those trained by other ones are comparable.
    test = {**variant.test, "rewards": variant.test.get("rewards", base.rewards)} if config else variant.test
    tested = _changed(model, test)
    tested = tested.replace(sampling=replace(tested.sampling, seed=seed))
    _check(model, tested, config)
    return Trial(name, seed, model, config, train_split_of(dataset) if source is None else source, tested, scored)


def _config(asked: Any, train: TrainConfig | None, seed: int) -> TrainConfig | None:
    if asked is False or (asked is True and train is None):
        return None
    if isinstance(asked, TrainConfig):
        return replace(asked, seed=seed)
    if asked is not True and not isinstance(asked, Mapping):
        raise InputError(f"expected training settings, a TrainConfig, True or False; got {asked!r}")
    changes = {} if asked is True else dict(asked)
    if "seed" in changes:
        raise InputError("training seeds are those of the ablation: give seeds=, not a seed in the settings")
    return TrainConfig.from_dict({**_settings(train or TrainConfig()), **changes, "seed": seed}, trust=True)


def _settings(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(config)}


def _changed(model: ReVSeg, changes: Mapping[str, Any]) -> ReVSeg:
    """The model with changed settings. `sampling` may be a mapping with only some of its fields."""
    sampling = changes.get("sampling")
    if isinstance(sampling, Mapping):
        changes = {**changes, "sampling": Sampling(**{**_settings(model.sampling), **sampling})}
    return model.replace(**changes)


def _check(trained: ReVSeg, tested: ReVSeg, config: TrainConfig | None) -> None:
    """Build the light parts, so that a wrong spec is an error before hours of training."""
    for model in (trained, tested):
        if isinstance(model.plan, tuple):
            InOrder(model.plan)
        elif model.plan is not None:
            registry("plan").build(model.plan)
        if model.sampler is not None:
            registry("sampler").build(model.sampler)
    if config is None:
        return
    registry("objective").build(config.objective)
    if not isinstance(trained.policy, str | Mapping):
        raise InputError("expected a policy named by a spec, so that each training builds its own; got an object")
    if spec_of(tested.policy) != spec_of(trained.policy):
        raise InputError("test= changes the policy, but the policy that is scored comes from training")


def _digest(parts: Any) -> str:
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(parts, default=str, sort_keys=True))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
