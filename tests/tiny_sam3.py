"""Small SAM 3 and EdgeTAM models with random weights, saved to a folder as `save_pretrained` writes them.

The SAM 3 folder is laid out as `facebook/sam3`: the whole `Sam3VideoModel`, text encoder included, with a tokenizer.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from tiny_sam2 import HF_DIM, HF_MEMORY_DIM, IMAGE_SIZE, MEMORIES, POINTERS, enliven, hf_processor

from revseg.trackers.hf_checkpoint import SAM3_SINCE

HAS_SAM3 = Version(transformers.__version__) >= Version(SAM3_SINCE)
WIDTH = 32  # of the parts of SAM 3 that the tracker does not use
SAM3_SIZE = 112  # 8 x 8 patches of 14
WORDS = ("a", "red", "square", "the", "dog")
TRACKER: dict[str, Any] = {
    "num_maskmem": MEMORIES,
    "max_object_pointers_in_encoder": POINTERS,
    "memory_attention_hidden_size": HF_DIM,
    "memory_attention_num_layers": 2,
    "memory_encoder_hidden_size": HF_DIM,
    "memory_encoder_output_channels": HF_MEMORY_DIM,
    "mask_downsampler_embed_dim": HF_DIM,
    "memory_fuser_num_layers": 1,
    "memory_fuser_embed_dim": HF_DIM,
    "memory_fuser_intermediate_dim": 64,
}
DECODER: dict[str, Any] = {"hidden_size": HF_DIM, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}


def save_tiny_edgetam(folder: str | Path, seed: int = 1, *, timm: bool = False) -> None:
    """For `edgetam:model=FOLDER`. The backbone is SAM 2's, or with `timm` the released one, which that package has."""
    from tiny_sam2 import hf_vision
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel
    from transformers.models.edgetam_video.configuration_edgetam_video import EdgeTamVideoMaskDecoderConfig

    grid = IMAGE_SIZE // 16
    config = EdgeTamVideoConfig(
        vision_config=_repvit() if timm else hf_vision(),
        prompt_encoder_config={"hidden_size": HF_DIM, "image_size": IMAGE_SIZE},
        mask_decoder_config=EdgeTamVideoMaskDecoderConfig(**DECODER),
        image_size=IMAGE_SIZE,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_attention_rope_k_sizes=[2, 2],
        memory_attention_mlp_hidden_size=64,
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_mlp_intermediate_size=64,
        perceiver_resampler_num_layers=1,
        **TRACKER,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net: Any = EdgeTamVideoModel(config)
        enliven(net, net.mask_decoder.pred_obj_score_head.proj_out)
    net.save_pretrained(folder)
    hf_processor(IMAGE_SIZE).save_pretrained(folder)


def _repvit() -> Any:
    from transformers import EdgeTamVisionConfig

    grid = IMAGE_SIZE // 16
    features = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    return EdgeTamVisionConfig(
        backbone_config={
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1",
            "num_classes": 1000,
            "model_args": features,
        },
        backbone_feature_sizes=[[grid * 4, grid * 4], [grid * 2, grid * 2], [grid, grid]],
        fpn_hidden_size=HF_DIM,
    )


def save_tiny_sam3(folder: str | Path, seed: int = 0) -> None:
    """For `sam3:model=FOLDER` and `sam3_concept:model=FOLDER`."""
    from transformers import Sam3VideoModel, Sam3VideoProcessor

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net: Any = Sam3VideoModel(_sam3_config())
        enliven(net, net.tracker_model.mask_decoder.pred_obj_score_head.proj_out)
    net.save_pretrained(folder)
    tracker = hf_processor(SAM3_SIZE)
    Sam3VideoProcessor(tracker.image_processor, tracker.video_processor, _tokenizer(Path(folder))).save_pretrained(
        folder
    )


def _sam3_config() -> Any:
    from transformers import Sam3VideoConfig

    grid = SAM3_SIZE // 14
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SAM3_SIZE,
            "pretrain_image_size": SAM3_SIZE,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": HF_DIM,
        "backbone_feature_sizes": [[grid * 4, grid * 4], [grid * 2, grid * 2], [grid, grid]],
    }
    part = {"hidden_size": HF_DIM, "num_attention_heads": 4, "intermediate_size": 64, "num_layers": 1}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 64,
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "projection_dim": WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": 24,
            "eos_token_id": 25,
            "pad_token_id": 25,
        },
        "geometry_encoder_config": part,
        "detr_encoder_config": part,
        "detr_decoder_config": {**part, "num_queries": 6},
        "mask_decoder_config": {"hidden_size": HF_DIM, "num_attention_heads": 4},
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": HF_DIM, "image_size": SAM3_SIZE},
        "mask_decoder_config": DECODER,
        "image_size": SAM3_SIZE,
        "memory_attention_rope_feat_sizes": [grid, grid],
        "memory_attention_feed_forward_hidden_size": 64,
        **TRACKER,
    }
    # thresholds at which random weights find, lose, join and refresh a few objects within a dozen frames
    return Sam3VideoConfig(
        detector_config=detector,
        tracker_config=tracker,
        low_res_mask_size=grid * 4,
        score_threshold_detection=0.3,
        new_det_thresh=0.36,
        det_nms_thresh=0.6,
        hotstart_delay=4,
        hotstart_unmatch_thresh=2,
        hotstart_dup_thresh=3,
        recondition_every_nth_frame=3,
        high_conf_thresh=0.36,
        high_iou_thresh=0.3,
    )


def _tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer with single letters and a few words for a vocabulary."""
    from transformers import CLIPTokenizer

    letters = [f"{c}{end}" for c in "abdeghoqrstu" for end in ("", "</w>")]
    vocab = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[])
