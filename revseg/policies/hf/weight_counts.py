"""How many weights a model has, from its configuration alone."""

import re
from typing import Any

from revseg.policies.checkpoints import folder_of
from revseg.types import WeightCounts

ADAPTED = re.compile(r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)")


def count_weights(model: str | None) -> WeightCounts | None:
    """Of the model that a `config.json` describes (a checkpoint's, a folder's, the hub's), built without any weights.

    None when there is no such configuration or it is of another model.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    try:
        settings = Qwen2_5_VLConfig.get_config_dict(folder_of(model))[0]
        if settings.get("model_type") != Qwen2_5_VLConfig.model_type:
            return None
        config = Qwen2_5_VLConfig.from_dict(settings)
        with torch.device("meta"):
            net: Any = Qwen2_5_VLForConditionalGeneration(config)
    except Exception:  # whatever is wrong with it, loading says it better than a guess at the memory
        return None
    layers = [m.weight.shape for name, m in net.named_modules() if ADAPTED.fullmatch(name)]
    vision = sum(p.numel() for p in net.model.visual.parameters())
    return WeightCounts(sum(p.numel() for p in net.parameters()), vision, sum(sum(shape) for shape in layers))
