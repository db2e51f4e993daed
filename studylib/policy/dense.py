"""The policy with plain weights, for sampling only: a 4-bit layer unpacks its weights at every token."""

import copy

import torch
from peft.tuners.lora import LoraLayer

from studylib.params import RunParams
from studylib.policy.memory import fits_with_dense_copy
from studylib.policy.products import dequantised, has_products


class AdaptedLinear(torch.nn.Module):
    """A dense layer with its adapter beside it: x W + bias + s B(A(x)), step by step as PEFT computes it in training.

    Added to a 16-bit weight, an update smaller than half its last bit is lost, and an adapter begins with such updates:
    the first steps would be sampled from the untrained policy. `a` and `b` are the adapter in the compute dtype, to
    which autocast rounds it in training too.
    """

    def __init__(self, weight: torch.nn.Parameter, bias, layer: LoraLayer):
        super().__init__()
        self.weight, self.bias, self.scaling = weight, bias, layer.scaling["default"]
        for name, own in (("a", layer.lora_A), ("b", layer.lora_B)):
            self.register_buffer(name, torch.empty_like(own["default"].weight, dtype=weight.dtype), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dense = torch.nn.functional.linear(x, self.weight, self.bias).to(x.dtype)
        return dense + torch.nn.functional.linear(torch.nn.functional.linear(x, self.a), self.b) * self.scaling

    def refresh(self, layer: LoraLayer) -> None:
        self.a.copy_(layer.lora_A["default"].weight)
        self.b.copy_(layer.lora_B["default"].weight)


class DenseCopy:
    """The policy with plain weights in the compute dtype, for sampling only: base dequantised once, and the adapter.

    A 4-bit layer unpacks its weights at every token. Here they are unpacked into a copy. In float32 the adapter is
    added to the copy's weights, W + (alpha / r) B A, once a step; in 16 bits it stays beside them (`AdaptedLinear`). It
    is never merged into the 4-bit weights, which would round it away (QLoRA, arXiv 2305.14314).
    """

    def __init__(self, policy):
        base = policy.get_base_model()
        config = copy.deepcopy(base.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        attention = base.config._attn_implementation
        with torch.device(policy.device):
            self.model = type(base)._from_config(config, dtype=base.dtype, attn_implementation=attention)
        self.model.requires_grad_(False)
        self._layers, self.merged = [], base.dtype == torch.float32
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                self._layers.append((module, self._linear(name, module)))
            elif not name or ".lora_" in name or "base_layer" in name:
                continue
            else:
                own = self.model.get_submodule(name)
                for key, parameter in module.named_parameters(recurse=False):
                    setattr(own, key, parameter)  # embeddings and norms are shared, not copied
        self.refresh()

    def _linear(self, name: str, module: LoraLayer) -> torch.nn.Module:
        """The copy's layer for a layer of the policy; its own adapter is beside it where it cannot be merged."""
        own = self.model.get_submodule(name)
        own.bias = module.get_base_layer().bias
        if self.merged:
            return own
        with torch.no_grad():
            own.weight.copy_(dequantised(module))
        beside = AdaptedLinear(own.weight, own.bias, module)
        self.model.set_submodule(name, beside)
        return beside

    @torch.no_grad()
    def refresh(self) -> torch.nn.Module:
        """The copy with the adapter's present weights."""
        for layer, own in self._layers:
            if self.merged:
                own.weight.copy_(dequantised(layer).float() + layer.get_delta_weight("default").float())
            else:
                own.refresh(layer)
        return self.model


def dense_copy(policy) -> DenseCopy:
    """The policy's dense copy, made once and kept with it; `refresh` gives it the adapter's present weights."""
    if "_dense_copy" not in vars(policy):
        vars(policy)["_dense_copy"] = DenseCopy(policy)  # not a submodule: it is neither trained nor saved
    return policy._dense_copy


def use_dense_copy(params: RunParams, policy) -> bool:
    """Whether to sample from a dense copy: as `rollout_weights` says, or where the GPU as a whole has room for it.

    What is free at the moment is not asked, so that a run samples alike before, during and after training. A policy
    that computes with plain weights itself (`products.py`) needs no copy.
    """
    if has_products(policy):
        return False
    if params.rollout_weights != "auto" or params.device == "cpu":
        return params.rollout_weights != "nf4"
    return fits_with_dense_copy(params, policy.config)
