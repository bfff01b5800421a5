"""The library's own attention, put in place of transformers' for a model's two parts."""

from typing import Any

from revseg.policies.hf.inputs import base_model
from revseg.policies.hf.shared_prefix_attention import grouped_attention
from revseg.policies.hf.window_attention import window_attention

WINDOWS = "revseg_flash_windows"  # "flash" makes transformers hand over the whole sequence with its window boundaries
GROUPED = "revseg_grouped"


def use_own_attention(model: Any) -> None:
    """Let a model's vision tower use `window_attention` and its language model `grouped_attention`, in place."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(WINDOWS, window_attention)
    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, sdpa_mask)
    model.model.visual.config._attn_implementation = WINDOWS  # the configuration is one object for all layers
    model.model.language_model.config._attn_implementation = GROUPED


def shares_prompts(policy: Any) -> bool:
    """Whether the policy's language model takes the prompts of a group apart from its rows (`Common`)."""
    config = base_model(policy.model).model.language_model.config
    return policy.codec.cache == "full" and config._attn_implementation == GROUPED
