"""Installs the library's own attention in a model: one for the vision tower, one for the language model."""

from typing import Any

from revseg.policies.hf.inputs import base_model
from revseg.policies.hf.shared_prefix_attention import grouped_attention
from revseg.policies.hf.window_attention import window_attention

# with "flash" in the name, transformers passes the whole sequence and the boundaries of its windows
WINDOWS = "revseg_flash_windows"
GROUPED = "revseg_grouped"


def use_own_attention(model: Any) -> None:
    """Make a model's vision tower use `window_attention` and its language model `grouped_attention`, in place."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(WINDOWS, window_attention)
    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, sdpa_mask)
    model.model.visual.config._attn_implementation = WINDOWS  # the configuration is one object for all layers
    model.model.language_model.config._attn_implementation = GROUPED


def shares_prompts(policy: Any) -> bool:
    """Whether the policy's language model can read a group's prompts once, apart from its rows (`Common`)."""
    config = base_model(policy.model).model.language_model.config
    return policy.codec.cache == "full" and config._attn_implementation == GROUPED
