"""Small trained functions of the policy's last hidden state: PPO's critic and FlowRL's log Z."""

from collections.abc import Sequence

import torch
from torch import nn


def scalar_head(size: int) -> nn.Module:
    """Hidden state -> one number, such as the expected return; starts at 0."""
    head = nn.Linear(size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def log_z_head(size: int) -> nn.Module:
    """Mean hidden state of a prompt -> log Z. The MLP of FlowRL's released code without its dropout; starts at 0."""
    block = [layer for _ in range(2) for layer in (nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))]
    return nn.Sequential(*block, scalar_head(size))


HEADS = {"value": scalar_head, "log_z": log_z_head}


class WithHeads:
    """A trainer of transformers that trains `self.heads` beside its model."""

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        if len(self.heads):
            # Heads start at 0 and have to follow the rewards within a few steps, so their rate is their own.
            rate = self.params.head_learning_rate
            optimizer.add_param_group({"params": list(self.heads.parameters()), "lr": rate, "weight_decay": 0.0})
        return optimizer


def make_heads(names: Sequence[str], size: int, device: torch.device) -> nn.ModuleDict:
    """The heads that an objective trains beside the adapter (`Objective.heads`), in float32; most have none."""
    return nn.ModuleDict({name: HEADS[name](size) for name in names}).to(device, torch.float32)
