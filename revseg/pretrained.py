"""transformers' models from a checked folder: no code of the folder's, no value that the weights did not give."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.model_folder import check_fit, read_json, short

LAYERS = 1024  # of a part of a network: so many would be made one by one before any weight is read
# a kernel's repository, another file of weights, code beside the weights: not the folder's to choose
_NOT_THEIRS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
_NOT_THEIRS += ("_experts_implementation", "transformers_weights", "auto_map", "custom_pipelines")


def load_checked(model_class: Any, config_class: Any, folder: Path, **options: Any) -> Any:
    """The model of `folder` (see `check_model_folder`), whose every tensor came from its weights.

    InputError when the configuration cannot be read, the model not be made, or tensors are missing, unexpected or of
    another shape.
    """
    data = _plain(read_json(folder / "config.json"), folder)
    try:
        with _quiet():
            model, info = model_class.from_pretrained(
                folder,
                config=config_class.from_dict(data),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told with the rest
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:  # whatever is odd in a stranger's configuration surfaces as anything
        raise InputError(f"cannot make a model of {folder}: {type(error).__name__} {short(error)}") from error
    shapes = {name: (tuple(came), tuple(wanted)) for name, came, wanted in info["mismatched_keys"]}
    unexpected = [name for name in info["unexpected_keys"] if not name.endswith("rotary_emb.inv_freq")]  # computed
    check_fit(f"the weights in {folder} are not of its config.json", info["missing_keys"], unexpected, shapes)
    return model


def load_processor(processor_class: Any, folder: Path) -> Any:
    """The processor of `folder`; InputError when its files are missing or damaged."""
    try:
        return processor_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exceptions
        raise InputError(
            f"cannot read the processor in {folder}: {type(error).__name__} {short(error)}; "
            "expected the tokenizer's and preprocessor's files of the model beside its weights"
        ) from error


def _plain(node: Any, folder: Path) -> Any:
    """The configuration without what could lead to code or to other files, at any depth."""
    if isinstance(node, list):
        return [_plain(item, folder) for item in node]
    if not isinstance(node, dict):
        return node
    for name in ("num_hidden_layers", "depth", "num_layers"):
        if isinstance(node.get(name), int) and node[name] > LAYERS:
            raise InputError(f"expected {name} of at most {LAYERS} in {folder / 'config.json'}, got {node[name]}")
    return {name: _plain(value, folder) for name, value in node.items() if name not in _NOT_THEIRS}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of tensors that do not fit: the error tells them."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
