"""The gradients of two processes, averaged by torch as several processes train; with gloo, which needs no second card.

Each process imports this module again, so it imports little.
"""

import socket
from pathlib import Path

import torch

PROCESSES = 2


def gradients_of_a_pair(folder: Path) -> list[list[float]]:
    """What each process holds after the backward pass of a layer of two weights whose own gradients are 1 and 2."""
    torch.multiprocessing.spawn(_process, (_free_port(), str(folder)), PROCESSES)
    return [torch.load(_file(folder, rank)).tolist() for rank in range(PROCESSES)]


def _file(folder: Path | str, rank: int) -> Path:
    return Path(folder) / f"gradient{rank}.pt"


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _process(rank: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=PROCESSES)
    layer = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1, bias=False))
    layer(torch.full((1, 2), rank + 1.0)).sum().backward()
    torch.save(next(layer.parameters()).grad[0], _file(folder, rank))
    torch.distributed.destroy_process_group()
