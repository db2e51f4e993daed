"""GPU memory that a run needs, from the shape of its model and its parameters."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from studylib.params import RunParams

GIB = 2**30
PROMPT = 512  # tokens: longer than the prompts of the embedded worlds and most of MoReBench's
DRAW_BYTES = 18  # per logit of an answer in flight: 16 bits, float32, over the temperature, softmax and its cumulation
TILE = (4096, 32768)  # tokens and words of a tile of TRL's head, which never holds all logits
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # a weight, its block's 8-bit scale, and the scale of 256 scales
ADAPTER_BYTES = 4 + 4 + 8 + 2  # float32 weight, gradient and Adam's two moments; the sampler's 16-bit weight
RESERVE = 1.0  # GiB: CUDA's context and kernels, and what the allocator cannot use of its blocks


class Shape(NamedTuple):
    """What of a model's architecture memory depends on."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool
    kind: str = "qwen2"  # the architecture, as transformers calls it

    @classmethod
    def of(cls, config) -> "Shape":
        text = config.get_text_config()
        return cls(
            text.vocab_size, text.hidden_size, text.num_hidden_layers, text.num_attention_heads,
            getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
            getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            text.intermediate_size, bool(text.tie_word_embeddings), text.model_type,
        )  # fmt: skip

    @property
    def linear(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of a block: q, k, v, o, gate, up, down."""
        q, kv, d, f = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.hidden, self.intermediate
        return [(d, q), (d, kv), (d, kv), (q, d), (d, f), (d, f), (f, d)]

    @property
    def linear_weights(self) -> int:
        return self.layers * sum(i * o for i, o in self.linear)

    @property
    def embedding_weights(self) -> int:
        """Of the embedding and an untied head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def activation_bytes(self) -> int:
        """What a block keeps of a token for its backward pass, in 16 bits with LoRA on all its linear layers.

        8 bytes per unit of the MLP (gate, its activation, up and their product), 36 per unit of the hidden state (two
        float32 norms, inputs of the adapters, queries, rotations, the attention's output). That is 71, 127 and 281 kB
        for Qwen2.5-0.5B, 1.5B and 7B, where 69, 128 and 280 were measured.
        """
        return 8 * self.intermediate + 36 * self.hidden

    @property
    def kv_bytes(self) -> int:
        """Keys and values of a token in one block, 16 bits."""
        return 2 * self.kv_heads * self.head_dim * 2


def memory_needed(params: RunParams, shape: Shape, dense: bool, prompt: int = PROMPT) -> dict[str, float]:
    """GiB of each part, and `total`: what stays, and the larger of sampling and training. `prompt`: its tokens.

    base      linear weights x 0.516 B (NF4, double quantisation) + embeddings and an untied head x 2 B
    dense     linear weights x 2 B, where the sampler has a dense copy
    adapter   LoRA weights x 18 B: float32, gradient, Adam, the sampler's copy
    sampling  KV cache, rollout_batch x (P + C + 1) tokens x layers; of one block the keys and values repeated for all
              heads (the attention does that where there is padding), or its cache moved when answers leave; logits
    training  activations of a pass of rows_per_pass answers of C tokens and the prompts of their groups, and in every
              layer the prompts' keys and values repeated for the answers and heads. With gradient checkpointing one
              layer of one group, and for all layers their inputs, keys and values alone. One tile of logits
    reserve   1 GiB
    """
    p, rows = params, params.rows_per_pass
    lora = shape.layers * p.lora_r * sum(i + o for i, o in shape.linear)
    parts = {
        "base": shape.linear_weights * NF4_BYTES + shape.embedding_weights * 2,
        "dense": shape.linear_weights * 2 * dense,
        "adapter": lora * ADAPTER_BYTES,
        "sampling": _sampling(p, shape, prompt),
        "training": _training(p, shape, prompt, rows),
    }
    gib = {name: size / GIB for name, size in parts.items()} | {"reserve": RESERVE}
    return gib | {"total": sum(gib.values()) - min(gib["sampling"], gib["training"])}


def _sampling(p: RunParams, shape: Shape, prompt: int) -> float:
    cached = p.rollout_batch * (prompt + p.max_new_tokens + 1)
    one_block = cached * max(shape.kv_bytes, 4 * shape.heads * shape.head_dim)
    return cached * shape.layers * shape.kv_bytes + one_block + p.rollout_batch * shape.vocabulary * DRAW_BYTES


def _training(p: RunParams, shape: Shape, prompt: int, rows: int) -> float:
    g, c = min(p.generations, rows), p.max_new_tokens
    groups = -(-rows // g)
    # a tile in 16 bits, as wide for few words as for many, and its logits in float32
    head = min(rows * c, TILE[0]) * (2 * TILE[1] + 4 * min(shape.vocabulary, TILE[1]))
    of_a_group = (g * c + prompt) * shape.activation_bytes + g * prompt * 4 * shape.heads * shape.head_dim
    if not p.gradient_checkpointing:
        return groups * of_a_group * shape.layers + head
    kept = (rows * c + groups * prompt) * (2 * shape.hidden + shape.kv_bytes)
    return kept * shape.layers + 2 * of_a_group + head  # a layer's activations, and their gradients


def fits_with_dense_copy(params: RunParams, config) -> bool:
    """Whether the GPU, were it empty, has room for the run with a dense copy beside its 4-bit weights."""
    memory = torch.cuda.get_device_properties(0).total_memory / GIB
    return memory_needed(params, Shape.of(config), dense=True)["total"] <= memory


SHAPES: Mapping[str, Shape] = {  # hub id -> what its published config.json says; for budgets without a download
    "Qwen/Qwen2.5-0.5B-Instruct": Shape(151936, 896, 24, 14, 2, 64, 4864, True),
    "Qwen/Qwen2.5-1.5B-Instruct": Shape(151936, 1536, 28, 12, 2, 128, 8960, True),
    "Qwen/Qwen2.5-3B-Instruct": Shape(151936, 2048, 36, 16, 2, 128, 11008, True),
    "Qwen/Qwen2.5-7B-Instruct": Shape(152064, 3584, 28, 28, 4, 128, 18944, False),
    "Qwen/Qwen2.5-7B": Shape(152064, 3584, 28, 28, 4, 128, 18944, False),
    "meta-llama/Llama-3.1-8B-Instruct": Shape(128256, 4096, 32, 32, 8, 128, 14336, False, "llama"),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Shape(49152, 576, 30, 9, 3, 64, 1536, True, "llama"),
}
