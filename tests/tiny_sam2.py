"""Small SAM 2 models with random weights, saved to a folder: for both packages, same code paths as the real ones.

A window of 4 frames (2 memories, 4 object pointers) shows with few frames that old outputs are forgotten.
"""

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

IMAGE_SIZE, DIM, MEMORY_DIM, MEMORIES, POINTERS = 128, 32, 16, 3, 4
HF_DIM, HF_MEMORY_DIM = 128, 64  # transformers knows no other width of memories, and wants features to be wider
GAIN = 1.0


def save_tiny_sam2(folder: str | Path, seed: int = 0, like: str | Path | None = None) -> None:
    """Meta's `sam2_tiny.yaml` and `.safetensors`, for `sam2:model=FOLDER`, shaped as the yaml file `like` says."""
    from hydra.utils import instantiate

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = OmegaConf.load(like) if like else OmegaConf.create({"model": _meta_config()})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = instantiate(config.model)
        enliven(net, net.sam_mask_decoder.pred_obj_score_head.layers[-1])
    OmegaConf.save(config, folder / "sam2_tiny.yaml")
    save_file(
        {name: tensor.contiguous() for name, tensor in net.state_dict().items()}, folder / "sam2_tiny.safetensors"
    )


def save_tiny_sam2_hf(folder: str | Path, seed: int = 0) -> None:
    """transformers': as `save_pretrained` writes it, for `sam2_hf:model=FOLDER`."""
    from transformers import Sam2VideoModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Sam2VideoModel(_hf_config())
        enliven(net, net.mask_decoder.pred_obj_score_head.proj_out)
    net.save_pretrained(folder)
    hf_processor(IMAGE_SIZE).save_pretrained(folder)


def hf_processor(side: int) -> Any:
    """transformers' processor for pictures of `side` pixels."""
    from transformers import Sam2VideoProcessor
    from transformers.models.sam2.image_processing_sam2 import Sam2ImageProcessor
    from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

    size, mask_size = {"height": side, "width": side}, {"height": side // 4, "width": side // 4}
    return Sam2VideoProcessor(Sam2ImageProcessor(size=size, mask_size=mask_size), Sam2VideoVideoProcessor(size=size))


def enliven(net: torch.nn.Module, score: torch.nn.Module) -> None:
    """Weights large enough that picture, prompt and memory all show in the masks, and a target mostly present."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel() if parameter.shape[0] > 1 else parameter.shape[-1]
                parameter.normal_(0, GAIN * fan_in**-0.5)
        weight, bias = score.parameters()
        weight.mul_(0.3)
        bias.fill_(1.0)


def _meta_config() -> dict:
    rope = {
        "_target_": "sam2.modeling.sam.transformer.RoPEAttention",
        "rope_theta": 10000.0,
        "feat_sizes": [IMAGE_SIZE // 16, IMAGE_SIZE // 16],
        "embedding_dim": DIM,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.1,
    }

    def sine(features: int) -> dict:
        return {
            "_target_": "sam2.modeling.position_encoding.PositionEmbeddingSine",
            "num_pos_feats": features,
            "normalize": True,
            "scale": None,
            "temperature": 10000,
        }

    encoder = {
        "_target_": "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "scalp": 1,
        "trunk": {
            "_target_": "sam2.modeling.backbones.hieradet.Hiera",
            "embed_dim": 8,
            "num_heads": 1,
            "stages": [1, 1, 2, 1],
            "global_att_blocks": [3],
            "window_pos_embed_bkg_spatial_size": [7, 7],
        },
        "neck": {
            "_target_": "sam2.modeling.backbones.image_encoder.FpnNeck",
            "position_encoding": sine(DIM),
            "d_model": DIM,
            "backbone_channel_list": [64, 32, 16, 8],
            "fpn_top_down_levels": [2, 3],
            "fpn_interp_model": "nearest",
        },
    }
    attention = {
        "_target_": "sam2.modeling.memory_attention.MemoryAttention",
        "d_model": DIM,
        "pos_enc_at_input": True,
        "layer": {
            "_target_": "sam2.modeling.memory_attention.MemoryAttentionLayer",
            "activation": "relu",
            "dim_feedforward": 64,
            "dropout": 0.1,
            "pos_enc_at_attn": False,
            "self_attention": rope,
            "d_model": DIM,
            "pos_enc_at_cross_attn_keys": True,
            "pos_enc_at_cross_attn_queries": False,
            "cross_attention": {**rope, "rope_k_repeat": True, "kv_in_dim": MEMORY_DIM},
        },
        "num_layers": 2,
    }
    memory = {
        "_target_": "sam2.modeling.memory_encoder.MemoryEncoder",
        "in_dim": DIM,
        "out_dim": MEMORY_DIM,
        "position_encoding": sine(MEMORY_DIM),
        "mask_downsampler": {
            "_target_": "sam2.modeling.memory_encoder.MaskDownSampler",
            "embed_dim": DIM,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
        },
        "fuser": {
            "_target_": "sam2.modeling.memory_encoder.Fuser",
            "layer": {
                "_target_": "sam2.modeling.memory_encoder.CXBlock",
                "dim": DIM,
                "kernel_size": 7,
                "padding": 3,
                "layer_scale_init_value": 0.1,
                "use_dwconv": True,
            },
            "num_layers": 1,
        },
    }
    return {
        "_target_": "sam2.modeling.sam2_base.SAM2Base",
        "image_encoder": encoder,
        "memory_attention": attention,
        "memory_encoder": memory,
        "num_maskmem": MEMORIES,
        "max_obj_ptrs_in_encoder": POINTERS,
        "image_size": IMAGE_SIZE,
        # from here on as in sam2.1_hiera_t.yaml
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "use_mask_input_as_output_without_sam": True,
        "directly_add_no_mem_embed": True,
        "no_obj_embed_spatial": True,
        "use_high_res_features_in_sam": True,
        "multimask_output_in_sam": True,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": True,
        "add_tpos_enc_to_obj_ptrs": True,
        "proj_tpos_enc_in_obj_ptrs": True,
        "use_signed_tpos_enc_to_obj_ptrs": True,
        "only_obj_ptrs_in_the_past_for_eval": True,
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "fixed_no_obj_ptr": True,
        "multimask_output_for_tracking": True,
        "use_multimask_token_for_obj_ptr": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "use_mlp_for_obj_ptr_proj": True,
    }


def hf_vision() -> Any:
    """SAM 2's image encoder in transformers."""
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    grid = IMAGE_SIZE // 16
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[IMAGE_SIZE, IMAGE_SIZE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        global_attention_blocks=[3],
    )
    return Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[grid * 4, grid * 4], [grid * 2, grid * 2], [grid, grid]],
        fpn_hidden_size=HF_DIM,
    )


def _hf_config():
    from transformers import Sam2VideoConfig
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig

    grid = IMAGE_SIZE // 16
    return Sam2VideoConfig(
        vision_config=hf_vision(),
        prompt_encoder_config={"hidden_size": HF_DIM, "image_size": IMAGE_SIZE},
        # an object, as transformers before 5.20 fills a dict up with another part's defaults
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=HF_DIM, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32
        ),
        image_size=IMAGE_SIZE,
        num_maskmem=MEMORIES,
        max_object_pointers_in_encoder=POINTERS,
        memory_attention_hidden_size=HF_DIM,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=HF_DIM,
        memory_encoder_output_channels=HF_MEMORY_DIM,
        mask_downsampler_embed_dim=HF_DIM,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=HF_DIM,
        memory_fuser_intermediate_dim=64,
    )
