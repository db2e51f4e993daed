"""Products of a policy on a CPU: dense base weights, and oneDNN's kernels for them.

A 4-bit layer unpacks its weights in every pass, and torch gives float32 products to MKL, which uses AVX-512 on one
maker's CPUs alone; oneDNN uses it wherever it is. Where the CPU multiplies bfloat16 (AVX512-BF16), the frozen products
of the layers are in it, as QLoRA computes on a GPU; all else is float32: adapter, attention, norms, and the head, whose
logits would be rounded to 1/16. On other CPUs weights and arithmetic are those of the plain way but for the order in
which a sum is rounded. Such a policy is its own sampler. The tiny model keeps torch's own products: its committed
studies repeat to the bit.
"""

from functools import partial

import bitsandbytes as bnb
import torch
from peft.tuners.lora import LoraLayer
from torch.autograd.function import once_differentiable

from studylib.params import RunParams
from studylib.policy.models import give_large_tensors_back
from studylib.policy.precision import precision

# What configurations call it when logits are more than a product.
SCALES = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(N, K) float32 x (O, K) -> (N, O) float32, x W^T + bias, by oneDNN in the dtype of the weight."""
    bias = bias if bias is None else bias.to(weight.dtype)
    return torch.ops.mkldnn._linear_pointwise(x.to(weight.dtype), weight, bias, "none", [], "").float()


class AdaptedProduct(torch.autograd.Function):
    """x W^T + bias + s (x A^T) B^T for frozen W: base layer and adapter (LoRA, arXiv 2106.09685, eq. 3) as one step.

    x: (N, K) float32; W: (O, K); A: (r, K); B: (O, r). PEFT keeps and moves four tensors of the output's size for it.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scaling: float):
        down = (x @ a.T).mul_(scaling)
        ctx.save_for_backward(x, down, weight, a, b)
        ctx.scaling = scaling
        return product(x, weight, bias).addmm_(down, b.T)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, down, weight, a, b = ctx.saved_tensors
        of_down = (gradient @ b).mul_(ctx.scaling)
        of_x = product(gradient, weight.T).addmm_(of_down, a) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_down.T @ x, gradient.T @ down, None


class FrozenProduct(torch.autograd.Function):
    """x W^T + bias for frozen W. x: (N, K) float32; W: (O, K)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return product(gradient, ctx.saved_tensors[0].T), None, None


def suit_cpu(params: RunParams, policy) -> None:
    """What makes the fast path fast on a CPU: memory that is given back, and for some policies products from here."""
    give_large_tensors_back()
    if use_products(params, policy):
        give_products(policy, params.temperature, layers_dtype())


def layers_dtype() -> torch.dtype:
    """In which the products of the layers are computed here: bfloat16 where the CPU has it in hardware."""
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def use_products(params: RunParams, policy) -> bool:
    """Whether a policy's products are computed here: a hub model's in float32 on a CPU with AVX-512."""
    chosen = params.device == "cpu" and params.instructed and params.rollout_weights == "auto"
    return chosen and policy.dtype == torch.float32 and has_onednn()


def has_onednn() -> bool:
    """Whether oneDNN is there and has kernels for AVX-512; with less it is no faster than what torch takes itself."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def give_products(policy, temperature: float, dtype: torch.dtype = torch.float32) -> None:
    """Let all linear layers of a policy with one LoRA adapter compute here, from dense copies of their base weights.

    temperature: at which answers are scored; dtype: of the copies of all layers but the head.
    """
    for module in policy.modules():
        if isinstance(module, LoraLayer):
            base = module.get_base_layer()
            module.forward = partial(_adapted, module, dequantised(module).to(dtype), base.bias)
    head = policy.get_output_embeddings()
    head.forward = partial(_frozen, head.weight, head.bias)
    vars(policy).update(_temperature=temperature, _layers_in=dtype)


def has_products(policy) -> bool:
    return "_temperature" in vars(policy)


def computed_in(params: RunParams, policy) -> str:
    """In which numbers a run computes, and why: a line of its manifest."""
    if not has_products(policy):
        return precision(params.device).reason
    return (
        f"CPU: float32 by oneDNN, the frozen products of the layers in {str(policy._layers_in).removeprefix('torch.')}"
    )


def own_head(policy) -> float | None:
    """The temperature at which `head.py` scores answers; None where TRL's head does, which knows scaled logits too."""
    config = policy.config.get_text_config()
    scaled = any(getattr(config, name, None) is not None for name in SCALES)
    plain = has_products(policy) and not scaled and policy.get_output_embeddings().bias is None
    return policy._temperature if plain else None


def _adapted(layer: LoraLayer, weight: torch.Tensor, bias, x: torch.Tensor) -> torch.Tensor:
    if layer.disable_adapters:
        return _frozen(weight, bias, x)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rows = AdaptedProduct.apply(x.flatten(0, -2), weight, bias, a, b, layer.scaling["default"])
    return rows.unflatten(0, x.shape[:-1])


def _frozen(weight: torch.Tensor, bias, x: torch.Tensor) -> torch.Tensor:
    return FrozenProduct.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


def dequantised(layer: LoraLayer) -> torch.Tensor:
    """The weight of a layer's base as plain numbers, in the dtype that it computes in."""
    stored = layer.get_base_layer().weight
    if isinstance(stored, bnb.nn.Params4bit):
        return bnb.functional.dequantize_4bit(stored.data, stored.quant_state)
    return stored
