"""The pretended GPU refuses what CUDA refuses, allows what CUDA allows, and leaves no trace."""

import copy

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from pretended_gpu import TURING, OnCard, pretended_gpu

MIXTURES = {
    "a sum": lambda g, c: g + c,
    "a product of matrices": lambda g, c: g.view(3, 1) @ c.view(1, 3),
    "a linear layer": lambda g, c: torch.nn.functional.linear(g, c.view(1, 3)),
    "a concatenation": lambda g, c: torch.cat([g, c]),
    "a stack": lambda g, c: torch.stack([g, c]),
    "a number on the CPU among others": lambda g, c: torch.stack([g[0], c[0]]),
    "where": lambda g, c: torch.where(g > 0, g, c),
    "in place, on the CPU": lambda g, c: c.add_(g),
    "in place, on the GPU": lambda g, c: g.mul_(c),
    "in place, into a number on the CPU": lambda g, c: c[0].add_(g[0]),
    "an output on the CPU": lambda g, c: torch.add(g, g, out=c),
    "searchsorted": lambda g, c: torch.searchsorted(g, c),
    "isin": lambda g, c: torch.isin(g, c),
    "gather": lambda g, c: g.gather(0, c.long()),
    "scatter": lambda g, c: torch.zeros_like(g).scatter(0, c.long(), g),
    "scatter_reduce": lambda g, c: torch.zeros_like(c).scatter_reduce(0, c.long(), g, "amax"),
    "index_add": lambda g, c: torch.zeros(3).index_add_(0, c.long(), g),
    "index_select": lambda g, c: g.index_select(0, c.long()),
    "an embedding": lambda g, c: torch.nn.functional.embedding(c.long(), g.view(3, 1)),
    "a loss": lambda g, c: torch.nn.functional.cross_entropy(g.view(3, 1), c.long() * 0),
    "bincount with weights": lambda g, c: torch.bincount(g.long(), c),
    "repeat_interleave": lambda g, c: torch.repeat_interleave(g, c.long()),
    "a CPU tensor at a CUDA mask": lambda g, c: c[g > 0],
    "a CPU tensor at CUDA indices": lambda g, c: c[g.long()],
    "values of the CPU at a CUDA mask": lambda g, c: g.__setitem__(g > -1, c),
    "values of the GPU at a CPU mask": lambda g, c: c.__setitem__(c > -1, g),
    "a CPU generator": lambda g, c: torch.rand(3, device="cuda", generator=torch.Generator()),
    "a CPU generator in place": lambda g, c: g.normal_(generator=torch.Generator()),
    "the data of a parameter": lambda g, c: setattr(g, "data", c),
}


@pytest.fixture
def pair(gpu):
    """The numbers 0, 1, 2 on the GPU and on the CPU."""
    return torch.arange(3.0, device="cuda"), torch.arange(3.0)


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_what_cuda_refuses_is_refused(pair, mixture):
    with pytest.raises(RuntimeError, match="same device|'cuda' device type for generator|incompatible tensor type"):
        mixture(*pair)


@pytest.mark.parametrize("read", [lambda t: t.numpy(), np.asarray, lambda t: np.array([t, t])], ids=str)
def test_numpy_does_not_read_the_gpu(pair, read):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        read(pair[0])


ALLOWED = {
    "a number of the CPU": (lambda g, c: g + c[2], [2.0, 3.0, 4.0]),
    "a number of Python": (lambda g, c: g * 2, [0.0, 2.0, 4.0]),
    "indices of the CPU": (lambda g, c: g[torch.tensor([2, 0])], [2.0, 0.0]),
    "a mask of the CPU": (lambda g, c: g[c > 0], [1.0, 2.0]),
    "a mask of its own": (lambda g, c: g[g > 1], [2.0]),
    "a list of indices": (lambda g, c: g[[2, 0]], [2.0, 0.0]),
    "a list of indices beside a slice": (lambda g, c: g.view(1, 3)[:, [2, 0]][0], [2.0, 0.0]),
    "numbers of numpy as indices": (lambda g, c: g[np.array([2, 0])], [2.0, 0.0]),
    "a number set at a mask": (lambda g, c: g.__setitem__(g > 0, 7.0) or g, [0.0, 7.0, 7.0]),
    "a number set at a list": (lambda g, c: g.__setitem__([0, 2], 7.0) or g, [7.0, 1.0, 7.0]),
    "a number set": (lambda g, c: g.__setitem__(1, 7.0) or g, [0.0, 7.0, 2.0]),
    "a number of Python in where": (lambda g, c: torch.where(g > 1, g, -1.0), [-1.0, -1.0, 2.0]),
    "isin with a number": (lambda g, c: g * torch.isin(g, 2), [0.0, 0.0, 2.0]),
    "new_tensor": (lambda g, c: g.new_tensor([4.0]), [4.0]),
    "a range of its length": (lambda g, c: torch.arange(len(g), device=g.device), [0, 1, 2]),
    "bounds of Python": (lambda g, c: g.clamp(min=1), [1.0, 1.0, 2.0]),
    "a number put": (lambda g, c: g.index_put((g > 1,), c[0]), [0.0, 1.0, 0.0]),
    "a copy into it": (lambda g, c: torch.zeros_like(g).copy_(c), [0.0, 1.0, 2.0]),
    "a move to it": (lambda g, c: c.to(g), [0.0, 1.0, 2.0]),
    "tensor with a device": (lambda g, c: torch.tensor([1.0], device=g.device), [1.0]),
    "new_zeros": (lambda g, c: g.new_zeros(1), [0.0]),
}


@pytest.mark.parametrize("operation, expected", ALLOWED.values(), ids=ALLOWED)
def test_what_cuda_allows_is_computed_on_the_gpu(pair, operation, expected):
    found = operation(*pair)
    assert found.device == torch.device("cuda:0") and found.is_cuda
    assert found.tolist() == expected == found.cpu().numpy().tolist()
    assert type(found.cpu()) is torch.Tensor


@pytest.mark.parametrize("place", ["cuda", "cuda:0", torch.device("cuda"), 0], ids=str)
def test_every_way_to_name_the_device_moves_there_and_cpu_moves_back(gpu, place):
    moved = torch.ones(2).to(place)
    assert isinstance(moved, OnCard) and isinstance(torch.ones(2).cuda(), OnCard)
    assert isinstance(torch.ones(2).to(device=place), OnCard) and isinstance(torch.zeros(2, device=place), OnCard)
    for back in (moved.cpu(), moved.to("cpu"), moved.to(torch.device("cpu"))):
        assert back.device.type == "cpu" and back.tolist() == [1.0, 1.0]
    assert torch.ones(2).to(torch.float64).device.type == "cpu"


def test_gradients_are_those_of_the_cpu_and_lie_on_the_gpu(gpu):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1))
    moved, x = copy.deepcopy(plain).to("cuda"), torch.randn(5, 3)
    plain(x).square().sum().backward()
    moved(x.cuda()).square().sum().backward()
    with pytest.raises(RuntimeError, match="same device"):
        moved(x)
    for one, other in zip(plain.parameters(), moved.parameters(), strict=True):
        assert other.grad.is_cuda and torch.equal(one.grad, other.grad.cpu())


def test_what_is_computed_again_in_the_backward_pass_may_make_tensors_there(gpu):
    def twice(x):
        return x * torch.tensor([2.0], device=x.device)

    x = torch.ones(3, device="cuda", requires_grad=True)
    torch.utils.checkpoint.checkpoint(twice, x, use_reentrant=False).sum().backward()
    (found,) = torch.autograd.grad(torch.utils.checkpoint.checkpoint(twice, x, use_reentrant=False).sum(), x)
    assert x.grad.tolist() == found.tolist() == [2.0, 2.0, 2.0]


def test_tied_weights_stay_tied_and_steps_and_casts_change_them_in_place(gpu):
    pair = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False) for _ in range(2)])
    pair[1].weight = pair[0].weight
    pair.to("cuda")
    assert pair[0].weight is pair[1].weight
    before = pair[0].weight.cpu()
    pair[0].weight.data = pair[0].weight.data.double()
    assert pair[1].weight.dtype == torch.float64
    optimizer = torch.optim.AdamW(pair.parameters(), lr=0.1)
    pair[0](torch.ones(1, 2, device="cuda", dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert pair[1].weight.is_cuda and not torch.equal(pair[1].weight.cpu().float(), before.detach())


def test_files_come_back_to_where_they_are_asked_for(gpu, tmp_path):
    torch.save({"w": torch.ones(2, device="cuda")}, tmp_path / "w.pt")
    assert torch.load(tmp_path / "w.pt", map_location="cuda")["w"].is_cuda
    assert not torch.load(tmp_path / "w.pt", map_location="cpu")["w"].is_cuda


def test_the_card_can_be_changed(gpu):
    assert torch.cuda.get_device_capability() == (8, 0) and torch.cuda.is_bf16_supported()
    assert torch.cuda.mem_get_info() == (24 * 2**30, 24 * 2**30)
    gpu.card, gpu.free_gib = TURING, 1.0
    assert torch.cuda.get_device_capability() == (7, 5) and not torch.cuda.is_bf16_supported()
    assert torch.cuda.mem_get_info() == (2**30, 16 * 2**30)
    assert torch.cuda.get_device_properties(0).total_memory == 16 * 2**30
    assert torch.cuda.get_device_name() == "Pretended Turing"


def test_the_device_leaves_no_trace():
    places = (torch.cuda, torch.cuda.random, torch, torch.nn.Module)
    before = [dict(vars(place)) for place in places]
    with pytest.MonkeyPatch.context() as patch, pretended_gpu(patch):
        assert torch.cuda.is_available() and torch.ones(1, device="cuda").is_cuda
    after = [dict(vars(place)) for place in places]
    assert all(old[name] is new[name] for old, new in zip(before, after, strict=True) for name in old)
    assert torch.empty(2, device="meta").is_meta
    if not torch.cuda.is_available():
        with pytest.raises(AssertionError, match="not compiled with CUDA"):
            torch.ones(1, device="cuda")
