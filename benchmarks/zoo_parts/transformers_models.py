"""Tiny configurations of transformers: encoders, decoders, encoder-decoders, state-space, experts, vision."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from zoo_parts.case import Group, Problem
from zoo_parts.torchvision_models import draw_zero_heads

BATCH, LENGTH, VOCABULARY, CLASSES, SIDE = 4, 7, 40, 4, 32
TEXT = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": CLASSES}  # fmt: skip
GROUPED = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
IMAGE = {**TEXT, "image_size": SIDE, "patch_size": 8}
SEQUENCES = {"vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "pad_token_id": 0,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
             "max_position_embeddings": 64, "decoder_start_token_id": 0}  # fmt: skip
GPT = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "rotary_dim": 4}
T5 = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
      "decoder_start_token_id": 0, "pad_token_id": 0}  # fmt: skip
STAGES = {"num_labels": CLASSES, "image_size": SIDE, "depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}

# configuration: (automatic class, arguments)
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": TEXT,
    "Roberta": TEXT,
    "Electra": {**TEXT, "embedding_size": 16},
    "Albert": {**TEXT, "embedding_size": 16},
    "DistilBert": {
        "vocab_size": VOCABULARY,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "num_labels": CLASSES,
    },
    "DebertaV2": {**TEXT, "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]},
    "MPNet": TEXT,
    "XLNet": {"vocab_size": VOCABULARY, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "num_labels": CLASSES},
    "ModernBert": {**TEXT, "attn_implementation": "eager"},
    "FNet": TEXT,
}
DECODERS: dict[str, dict[str, Any]] = {
    "GPT2": GPT,
    "GPTNeoX": TEXT,
    "GPTJ": GPT,
    "OPT": {**TEXT, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "Bloom": {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "Llama": GROUPED,
    "Mistral": GROUPED,
    "Gemma2": GROUPED,
    "Qwen3": GROUPED,
    "Phi": TEXT,
    "Falcon": {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    # The default product of all experts does not exist in float64, in which the oracle computes.
    "Mixtral": {**GROUPED, "num_local_experts": 3, "experts_implementation": "eager"},
    "Qwen2Moe": {**GROUPED, "moe_intermediate_size": 16, "num_experts": 3,
                 "num_experts_per_tok": 2, "shared_expert_intermediate_size": 16, "experts_implementation": "eager"},
    "Mamba": {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "Mamba2": {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "num_heads": 4,
               "head_dim": 8, "n_groups": 1, "chunk_size": 4},
    "Rwkv": {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16},
}  # fmt: skip
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "T5": T5,
    # Its router draws noise in float32 whatever the model computes in, so the oracle would draw another one.
    "SwitchTransformers": {
        **T5,
        "router_jitter_noise": 0.0,
        "num_experts": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
    },
    "Bart": SEQUENCES,
    "Pegasus": SEQUENCES,
    "Marian": SEQUENCES,
}
VISION: dict[str, dict[str, Any]] = {
    "ViT": IMAGE,
    "Dinov2": IMAGE,
    "Swin": {
        "num_labels": CLASSES,
        "image_size": SIDE,
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
    },
    "ConvNext": STAGES,
    "ResNet": {**STAGES, "embedding_size": 8, "layer_type": "basic"},
}
AUTOMATIC = {
    "encoders": ("AutoModelForSequenceClassification", ENCODERS),
    "decoders": ("AutoModelForCausalLM", DECODERS),
    "encoder-decoders": ("AutoModelForSeq2SeqLM", ENCODER_DECODERS),
    "vision": ("AutoModelForImageClassification", VISION),
}


def groups() -> list[Group]:
    """One group for each kind of model."""
    found = []
    for title, (automatic, configurations) in AUTOMATIC.items():
        group = Group(title, rebuild=False)
        for name, options in configurations.items():
            group.add(name, problem, automatic, name, options)
        found.append(group)
    return found


def problem(automatic: str, name: str, options: dict[str, Any]) -> Problem:
    """A model in training mode, called by keywords; its logits at the last position are the outputs."""
    configuration = getattr(transformers, f"{name}Config")(**options)
    model = getattr(transformers, automatic).from_config(configuration).train()
    draw_zero_heads(model)
    tokens = torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) * 11 % (VOCABULARY - 5) + 3
    inputs: dict[str, Tensor] = {"input_ids": tokens}
    if automatic == "AutoModelForImageClassification":
        inputs = {"pixel_values": torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))}
    elif automatic == "AutoModelForSeq2SeqLM":
        inputs = {"input_ids": tokens, "decoder_input_ids": tokens.flip(1)}
    return Problem(model=model, inputs=inputs, targets=torch.arange(BATCH) % CLASSES, forward=logits)


def logits(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Scores of each sample (B, classes)."""
    scores = model(**inputs).logits
    return scores[:, -1] if scores.ndim == 3 else scores
