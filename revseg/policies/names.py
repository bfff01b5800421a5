"""The policies that other modules use by default."""

DEFAULT = "qwen"  # without a model: the bundled small checkpoint, which knows the synthetic world only
PAPER = "qwen:model=Qwen/Qwen2.5-VL-7B-Instruct"  # the paper's, for real videos
