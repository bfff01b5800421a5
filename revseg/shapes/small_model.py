"""A Qwen2.5-VL of a few million parameters (or a few thousand, for tests) with its own tokenizer.

The classes are those of transformers: code that runs on this model runs on the 7B model.
"""

from collections.abc import Iterable
from typing import Any

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Qwen's ChatML without the system message, which would only cost a small model tokens.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(corpus: Iterable[str], *, vocabulary: int = 1024, size: int = 112, merge: int = 2) -> Any:
    """A Qwen2_5_VLProcessor whose byte-level tokenizer is trained on `corpus`.

    Every whole number from 0 to `size` is one token, with and without a leading space, so that a coordinate is sampled
    as one token. So are tags, and JSON keys with the signs around them, if they occur in `corpus`. Unknown words fall
    back to bytes.

    `merge` x `merge` patches become one vision token. It is 2 in the released models, whose pictures are large; on
    small pictures a token would show parts of several objects, which a small model hardly learns to read.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    core = Tokenizer(models.BPE())
    signs = r"""["\[\]{},]*"""
    tag, key = rf"{signs}</?\p{{L}}+>", rf"""{signs}"[\p{{L}}_][\p{{L}}\p{{N}}_ ]*":["\[]?"""
    words = Regex(rf"{tag}|{key}| ?[\p{{L}}_][\p{{L}}\p{{N}}_]*| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}_]+|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    numbers = [space + str(n) for n in range(size + 1) for space in ("", " ")]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # numbers are repeated, so that each is merged into one token
    core.train_from_iterator([*numbers * 1000, *corpus], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL if t != "<|im_end|>"],
    )
    pictures, videos = Qwen2VLImageProcessor(merge_size=merge), Qwen2VLVideoProcessor(merge_size=merge)
    return Qwen2_5_VLProcessor(pictures, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def build_model(
    processor: Any,
    *,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    vision_hidden: int = 128,
    vision_depth: int = 3,
    seed: int = 0,
) -> Any:
    """A randomly initialised Qwen2_5_VLForConditionalGeneration, float32, for that processor's vocabulary.

    The rotary bases (text 10,000, vision 10) are smaller than the released ones (a million, 10,000), because texts and
    grids are shorter; half of the text's frequencies still rotate so slowly that tokens can be matched by content over
    long distances. `hidden` / `heads` must be a multiple of 32.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = processor.tokenizer.convert_tokens_to_ids
    half = hidden // heads // 2
    # Time, height and width alternate over the frequencies, from fast to slow. The released models give each one run of
    # frequencies, which would leave width only those too slow to distinguish the columns of a small grid.
    section = [half // 16 * n for n in (1, 2, 2, 1, 2, 2, 1, 2, 3)]
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": hidden,
            "intermediate_size": hidden * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": section},
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden,
            "intermediate_size": vision_hidden * 2,
            "num_heads": heads,
            "out_hidden_size": hidden,
            "tokens_per_second": 2,
            "window_size": 112,
            "spatial_merge_size": processor.image_processor.merge_size,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 10.0},
            "fullatt_block_indexes": [],  # attention over all frames is left to the language model
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config)
