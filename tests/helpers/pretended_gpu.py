"""A pretended CUDA device: its tensors say `cuda:0`, are held on the CPU, and refuse what CUDA refuses.

    with pretended_gpu(monkeypatch) as gpu:
        gpu.card = TURING                       # what torch.cuda says of the card; AMPERE before
        torch.ones(3, device="cuda") + torch.ones(3)   # RuntimeError, as on a GPU

What it finds: tensors of two devices in one operation, a CPU tensor indexed by a CUDA one, `.numpy()` without
`.cpu()`, a CPU generator for a draw on the GPU, an output or target on another device than its source. A number of no
dimensions on the CPU may meet CUDA tensors in pointwise operations, and CPU indices may index a CUDA tensor: CUDA
allows both.

What it cannot find: speed, memory, races, rounding, kernels and dtypes that CUDA lacks. bitsandbytes has no kernels for
it, so models are loaded as plain float32 weights instead of NF4, autocast does nothing, and `torch.compile` gives back
the function. `torch.load` without `map_location` leaves tensors on the CPU, where a GPU would get them back. Operations
on lists of tensors (foreach) are held to one device, which is stricter than CUDA.

To C++ the tensors are meta tensors: autograd asks for a guard of their device, which builds without CUDA have for meta
and not for cuda. So a true meta tensor cannot be made inside; models are loaded with the pretence set aside.
"""

import contextlib
import functools
import types
from typing import NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

CUDA, META, CPU = torch.device("cuda", 0), torch.device("meta"), torch.device("cpu")
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}  # operations that go from one device to another
INDEXING = {aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
            aten._index_put_impl_.default}  # fmt: skip
CUDA_KERNELS = {  # what the CPU has no kernel for -> the same on the CPU
    aten.addmm.dtype_out: lambda c, a, b, dtype, *, out, **how: torch.addmm(c, a.to(dtype), b.to(dtype), **how, out=out)
}
FILLS = {aten.fill.Tensor, aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor}


class Card(NamedTuple):
    name: str
    capability: tuple[int, int]
    gib: float


AMPERE = Card("Pretended Ampere", (8, 0), 24.0)
TURING = Card("Pretended Turing", (7, 5), 16.0)
HOPPER = Card("Pretended Hopper", (9, 0), 80.0)


class OnCard(torch.Tensor):
    """A tensor that says it is on the GPU; `held` is what it really is."""

    @staticmethod
    def __new__(cls, held: torch.Tensor, requires_grad: bool = False):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=META, requires_grad=requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __repr__(self):
        return f"{self.held!r} on {CUDA}"

    def __deepcopy__(self, memo):
        copied = OnCard(self.held.detach().clone(), self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol):
        return self.held.detach().__reduce_ex__(protocol)  # files hold CPU tensors


def to_card(value: torch.Tensor) -> OnCard:
    return value if isinstance(value, OnCard) else OnCard(value.detach(), value.requires_grad)


def is_card(device) -> bool:
    """Whether a `device` argument means the GPU; meta is how it is said to C++."""
    if isinstance(device, (str, torch.device)):
        return torch.device(device).type in ("cuda", "meta")
    return isinstance(device, int) and not isinstance(device, bool)


# --- one operation ---------------------------------------------------------------------------------------------------


def compute(func, args, kwargs):
    """The operation on the tensors that are held; its results are on the device that torch would give them."""
    asked = kwargs.get("device")
    if func in COPIES:
        on_card = isinstance(args[0], OnCard) if asked is None else is_card(asked)
    else:
        tensors = list(tensors_in(args)) + list(tensors_in(kwargs.values()))
        on_card = any(type(t) is OnCard for t in tensors) if asked is None else is_card(asked)
        refuse_mixtures(func, args, kwargs, tensors)
    if on_card and kwargs.get("generator") is not None and kwargs["generator"].device.type != "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    plain = {name: held(value) for name, value in kwargs.items() if name != "pin_memory"}
    if asked is not None:
        plain["device"] = CPU
    found = CUDA_KERNELS.get(func, func)(*held(args), **plain)
    if func is aten.copy_.default:
        return args[0]
    if not on_card:
        return found
    found = OnCard(found) if isinstance(found, torch.Tensor) else tree_map_only(torch.Tensor, OnCard, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if _shares_memory(func) else found


def tensors_in(values):
    """The tensors of an operation's arguments: single ones and lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from tensors_in(value)


def held(value):
    """An argument of an operation with the tensors that are held in place of those on the GPU."""
    if type(value) is OnCard:
        return value.held
    if isinstance(value, torch.Tensor) and value.is_meta:
        raise AssertionError("torch made a tensor without data for the pretended GPU; it has to be caught in `Calls`")
    return type(value)(map(held, value)) if type(value) in (list, tuple) else value


@functools.cache
def _shares_memory(func) -> bool:
    """Whether a result is a view of an argument or the argument itself."""
    return any(value.alias_info is not None for value in func._schema.returns)


def refuse_mixtures(func, args, kwargs, tensors: list[torch.Tensor]) -> None:
    """Raise RuntimeError where CUDA would: tensors of two devices, but for indices and single numbers."""
    on_cpu = [t for t in tensors if type(t) is not OnCard]
    if len(on_cpu) in (0, len(tensors)):
        return
    if func in INDEXING:
        refuse_indices(*args[:3])
        return
    numbers_may = torch.Tag.pointwise in func.tags or func in FILLS
    into_cpu = any(t is written for written in _written(func, args, kwargs) for t in on_cpu)
    if not numbers_may or into_cpu or any(t.dim() for t in on_cpu):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func})"
        )


def _written(func, args, kwargs) -> list:
    """The arguments that the operation writes into."""
    arguments = func._schema.arguments
    given = dict(zip((argument.name for argument in arguments), args, strict=False)) | kwargs
    writes = [a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return [given[name] for name in writes if name in given]


def refuse_indices(base, indices, value=None) -> None:
    if not isinstance(base, OnCard) and any(isinstance(index, OnCard) for index in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    alike = value is None or isinstance(value, OnCard) == isinstance(base, OnCard)
    if not alike and (value.dim() or isinstance(value, OnCard)):
        raise RuntimeError("Expected all tensors to be on the same device: the values to put and their target")


# --- the two levels at which torch is listened to --------------------------------------------------------------------


class Calls(TorchFunctionMode):
    """Python's calls: `device="cuda"` is said to C++ as meta; what leaves the GPU for Python is answered here."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if not gpu_is_in_use():
            return func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and is_card(kwargs.get("device")):
            value = args[0] if args else kwargs.pop("data")
            value = value.cpu() if isinstance(value, torch.Tensor) else value
            return to_card(func(value, *args[1:], **kwargs | {"device": CPU}))
        if args and isinstance(args[0], OnCard) and func in FROM_CARD:
            return FROM_CARD[func](*args, **kwargs)
        if func is torch.Tensor.cuda:
            return args[0].to(META)
        if func is torch.Tensor.to and len(args) > 1:
            like = isinstance(args[1], OnCard)
            args = (
                (args[0], META, args[1].dtype) if like else (args[0], META if is_card(args[1]) else args[1], *args[2:])
            )
        args = tuple(META if isinstance(a, torch.device) and is_card(a) else a for a in args)
        if kwargs.get("device") is not None and is_card(kwargs["device"]):
            kwargs["device"] = META
        return func(*args, **kwargs)


def _no_numpy(*args, **kwargs):
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _tensors_for_lists(index):
    """An index with its lists as tensors of the CPU: C++ would make them where the indexed tensor is, without data."""
    parts = index if isinstance(index, tuple) else (index,)
    made = tuple(torch.as_tensor(part) if isinstance(part, (list, np.ndarray)) else part for part in parts)
    return made if isinstance(index, tuple) else made[0]


def _set_data(tensor: OnCard, value: torch.Tensor) -> None:
    if not isinstance(value, OnCard):
        raise RuntimeError("incompatible tensor type: a CUDA tensor cannot be given the data of a CPU tensor")
    torch.Tensor.data.__set__(tensor, value)
    tensor.held = value.held


FROM_CARD = {
    torch.Tensor.numpy: _no_numpy,
    torch.Tensor.__array__: _no_numpy,
    torch.Tensor.tolist: lambda tensor: tensor.held.tolist(),
    torch.Tensor.untyped_storage: lambda tensor: tensor.held.untyped_storage(),
    torch.Tensor.data_ptr: lambda tensor: tensor.held.data_ptr(),
    torch.Tensor.__getitem__: lambda tensor, index: torch.Tensor.__getitem__(tensor, _tensors_for_lists(index)),
    torch.Tensor.__setitem__: lambda tensor, index, value: torch.Tensor.__setitem__(
        tensor, _tensors_for_lists(index), value
    ),
    torch.Tensor.new_tensor: lambda tensor, data, dtype=None, **how: to_card(
        torch.tensor(data, dtype=dtype or tensor.dtype)
    ),
    torch.Tensor.data.__get__: lambda tensor: OnCard(tensor.held.detach()),
    torch.Tensor.data.__set__: _set_data,
}


def running_with_calls(engine):
    """The engine of autograd with `Calls` on: what is computed again in the backward pass is Python too."""

    def run(*args, **kwargs):
        with Calls():
            return engine(*args, **kwargs)

    return run


class Operations(TorchDispatchMode):
    """C++'s operations: those with a tensor on the GPU or asked to make one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        ours = OnCard in types or is_card(kwargs.get("device"))
        return compute(func, args, kwargs) if ours and gpu_is_in_use() else func(*args, **kwargs)


_aside = [0]  # how many times the pretence is set aside


def gpu_is_in_use() -> bool:
    return not _aside[0]


@contextlib.contextmanager
def aside():
    """Real meta tensors and CPU tensors alone, as for loading a model from files."""
    _aside[0] += 1
    try:
        yield
    finally:
        _aside[0] -= 1


# --- what stands around the tensors ----------------------------------------------------------------------------------


def move_module(module: torch.nn.Module, function, recurse: bool = True) -> torch.nn.Module:
    """`Module._apply` that replaces parameters, tied ones once: they cannot be given the memory of another device."""
    made: dict[int, torch.nn.Parameter] = {}
    for part in module.modules():
        for name, old in part._parameters.items():
            if old is None:
                continue
            if id(old) not in made:
                with torch.no_grad():
                    new = function(old)
                same = new is old or (isinstance(new, OnCard) == isinstance(old, OnCard) and new.dtype == old.dtype)
                made[id(old)] = old if same else torch.nn.Parameter(new.detach(), old.requires_grad)
            part._parameters[name] = made[id(old)]
        for name, old in part._buffers.items():
            if old is not None:
                part._buffers[name] = function(old)
    return module


def _dense_on_card(load):
    """`from_pretrained` without NF4, onto the CPU and from there to the GPU, in float32."""

    def from_pretrained(*args, device_map=None, quantization_config=None, dtype=None, **kwargs):
        place = (device_map or {}).get("", "cpu")
        with aside():
            model = load(*args, dtype=torch.float32 if is_card(place) else dtype, **kwargs)
        if not is_card(place):
            return model
        model = model.to(CUDA)
        model.hf_device_map = {"": place}
        return model

    return from_pretrained


def _loaded_on_card(load, where: str):
    """A loader of files that puts tensors where its argument `where` says."""

    def loader(*args, **kwargs):
        if not is_card(kwargs.get(where)):
            return load(*args, **kwargs)
        return tree_map_only(torch.Tensor, to_card, load(*args, **kwargs | {where: "cpu"}))

    return loader


class PretendedGPU:
    """The device of a test: `card` may be changed, `free_gib` is what `mem_get_info` says is free."""

    def __init__(self, card: Card = AMPERE):
        self.card, self.free_gib = card, None

    def memory(self, *args) -> tuple[int, int]:
        free = self.card.gib if self.free_gib is None else self.free_gib
        return int(free * 2**30), int(self.card.gib * 2**30)

    def properties(self, *args):
        major, minor = self.card.capability
        total = self.memory()[1]
        return types.SimpleNamespace(
            name=self.card.name, total_memory=total, major=major, minor=minor, multi_processor_count=80
        )

    def answers(self) -> dict:
        """name in torch.cuda -> what it says or does."""
        nothing = lambda *args, **kwargs: None  # noqa: E731
        names = (
            "_lazy_init", "init", "synchronize", "empty_cache", "set_device", "manual_seed", "manual_seed_all",
            "seed_all", "reset_peak_memory_stats", "set_rng_state", "set_rng_state_all", "current_stream",
            "default_stream",
        )  # fmt: skip
        return dict.fromkeys(names, nothing) | {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "get_device_name": lambda *args: self.card.name,
            "get_device_capability": lambda *args: self.card.capability,
            "is_bf16_supported": lambda *args, **kwargs: self.card.capability >= (8, 0),
            "get_device_properties": self.properties,
            "mem_get_info": self.memory,
            "max_memory_allocated": lambda *args: 2**30,
            "memory_allocated": lambda *args: 2**30,
            "get_rng_state": lambda *args: torch.zeros(16, dtype=torch.uint8),
            "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)],
        }


@contextlib.contextmanager
def pretended_gpu(monkeypatch, card: Card = AMPERE):
    """The device, as long as the context lasts. All that is changed is undone by it or by `monkeypatch`."""
    import peft.utils.save_and_load
    import trl.kernels.chunked_logprob
    from accelerate.state import AcceleratorState
    from transformers import AutoModelForCausalLM

    gpu = PretendedGPU(card)
    for name, answer in gpu.answers().items():
        monkeypatch.setattr(torch.cuda, name, answer)
        if hasattr(torch.cuda.random, name):
            monkeypatch.setattr(torch.cuda.random, name, answer)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 0, raising=False)
    monkeypatch.setattr(torch.nn.Module, "_apply", move_module)
    monkeypatch.setattr(torch.autograd, "_engine_run_backward", running_with_calls(torch.autograd._engine_run_backward))
    monkeypatch.setattr(torch, "load", _loaded_on_card(torch.load, "map_location"))
    monkeypatch.setattr(torch, "compile", lambda function, **kwargs: function)
    reader = peft.utils.save_and_load
    monkeypatch.setattr(reader, "safe_load_file", _loaded_on_card(reader.safe_load_file, "device"))
    load = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", _dense_on_card(load))
    monkeypatch.setattr(trl.kernels.chunked_logprob, "_TRITON_AVAILABLE", False)
    AcceleratorState._reset_state(reset_partial_state=True)  # what it knows of the machine is kept in the class
    try:
        with Calls(), Operations():
            yield gpu
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
