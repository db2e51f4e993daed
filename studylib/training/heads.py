"""Small trained functions of the policy's last hidden state: PPO's critic and FlowRL's log Z."""

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


def make_heads(objective: str, size: int, device: torch.device) -> nn.ModuleDict:
    """The heads that an objective trains beside the adapter, in float32; most have none."""
    heads = {"value": scalar_head} if objective == "ppo" else {}
    if objective in ("flowrl", "flowrl_released"):
        heads = {"log_z": log_z_head}
    return nn.ModuleDict({name: make(size) for name, make in heads.items()}).to(device, torch.float32)
