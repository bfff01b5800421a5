"""From the `model_type` of a configuration to the codec of that family."""

from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.registry import registry


def codec_class(model_type: Any, source: Path) -> Any:
    """The class registered as kind `codec` for this model type; InputError, naming the file `source`, without one."""
    names = registry("codec").names()
    name = model_type.replace("-", "_") if isinstance(model_type, str) else None
    if name not in names:
        raise InputError(
            f"expected model_type {' or '.join(names)} in {source}, got {model_type!r:.80}: the policies hf and "
            "qwen run models whose family has a codec; serve another one and use the policy openai "
            "(docs/how-to/serve_a_policy.md), or register a codec for it (see revseg.policies.hf.codecs.codec)"
        )
    return registry("codec").get(name)
