"""Codecs: how each family of models reads a conversation; registry `codec`, by the `model_type` in config.json."""

from revseg.policies.hf.codecs import qwen2_5_vl, qwen3_vl
from revseg.policies.hf.codecs.codec import Block, Codec, Encoded, Trajectory
from revseg.policies.hf.codecs.families import codec_class

__all__ = ["Block", "Codec", "Encoded", "Trajectory", "codec_class", "qwen2_5_vl", "qwen3_vl"]
