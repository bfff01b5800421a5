"""How many weights a model has, from its configuration alone."""

import re
from pathlib import Path
from typing import Any

from revseg.policies.checkpoints import folder_of
from revseg.policies.hf.codecs import codec_class
from revseg.types import WeightCounts


def count_weights(model: str | None) -> WeightCounts | None:
    """Of the model that a `config.json` describes (a checkpoint's, a folder's, the hub's), built without any weights.

    None when there is no such configuration, or none of a family with a codec.
    """
    import torch
    from transformers import PreTrainedConfig

    try:
        settings = PreTrainedConfig.get_config_dict(folder_of(model))[0]
        family = codec_class(settings.get("model_type"), Path(folder_of(model)))
        config_class, model_class, _ = family.classes()
        config = config_class.from_dict(settings)
        with torch.device("meta"):
            net: Any = model_class(config)
        vision = sum(p.numel() for p in family.vision_tower(net).parameters())
    except Exception:  # whatever is wrong with it, loading says it better than a guess at the memory
        return None
    adapted = re.compile(family.lora_layers)
    layers = [m.weight.shape for name, m in net.named_modules() if adapted.fullmatch(name)]
    return WeightCounts(sum(p.numel() for p in net.parameters()), vision, sum(sum(shape) for shape in layers))
