"""Several processes that make one run together, as torchrun starts them: who they are, and what they tell each other.

Every process holds the whole step and decides alike. What takes long, drawing answers and taking them through the
policy, is dealt out, and the results are exchanged; what has effects outside, files and rewards, is done by the first
process alone. So a run is the same with one process and with several, and nothing here does anything with one.

The processes talk over gloo on the CPU, of adapters' gradients and of answers. The libraries below see one process
each: no gradient is averaged behind the trainer's back, and no batch is split by anyone else.
"""

import datetime
import functools
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LONGEST_WAIT = datetime.timedelta(days=7)  # the others wait while the first one evaluates; one that dies ends all


class Place(NamedTuple):
    rank: int = 0
    size: int = 1


_place = Place()


def take_own_gpu() -> None:
    """Make the GPU of this process the only one that it sees, where torchrun started several.

    `studylib` does so when it is imported, because CUDA reads the variable once.
    """
    if _size_in_environment() == 1 or "LOCAL_RANK" not in os.environ:
        return
    local, visible = int(os.environ["LOCAL_RANK"]), os.environ.get("CUDA_VISIBLE_DEVICES")
    own = str(local) if visible is None else ",".join(visible.split(",")[local : local + 1])
    os.environ["CUDA_VISIBLE_DEVICES"] = own


def join() -> None:
    """Become one of the processes that torchrun's environment describes, of which the first alone prints.

    Does nothing a second time, or with one process. Raises ValueError for an environment that is not torchrun's.
    """
    global _place
    if _place.size > 1 or _size_in_environment() == 1:
        return
    missing = [name for name in OF_TORCHRUN if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']!r} is not allowed without {', '.join(missing)}: several processes "
            "are started by torchrun"
        )
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    _place = Place(torch.distributed.get_rank(), torch.distributed.get_world_size())
    for name in OF_TORCHRUN:
        del os.environ[name]  # or accelerate would split batches, wrap the policy and average gradients itself
    logging.getLogger("transformers.training_args").addFilter(_is_no_advice)
    if not is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_no_advice(record: logging.LogRecord) -> bool:
    """transformers would like the process group for itself, and says so at every trainer."""
    return "process group is initialized" not in record.getMessage()


def _size_in_environment() -> int:
    given = os.environ.get("WORLD_SIZE", "1")
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"WORLD_SIZE = {given!r} is not allowed: the number of processes, an integer >= 1")
    return int(given)


def require_one(what: str) -> None:
    """Refuse several processes. what: the thing that is one process' work, as a sentence begins."""
    processes = max(_place.size, _size_in_environment())
    if processes > 1:
        raise ValueError(f"{what} is not allowed with {processes} processes, only with 1")


def size() -> int:
    return _place.size


def is_first() -> bool:
    """Whether this process writes, prints, asks graders and evaluates."""
    return _place.rank == 0


# --- who does what ---------------------------------------------------------------------------------------------------


def mine(turn: int) -> bool:
    """Whether it is this process that does the piece of work with this number."""
    return turn % _place.size == _place.rank


def of_first(function: Callable, *args, **kwargs) -> Any:
    """What `function` gives in the first process, which alone calls it; an error is raised in all."""
    if _place.size == 1:
        return function(*args, **kwargs)
    return _unpacked(_broadcast(_attempt(function, *args, **kwargs) if is_first() else None))


def only_first(function: Callable, *args, **kwargs) -> Any:
    """`of_first` for what cannot be sent: the others get None."""
    kept = []
    of_first(lambda: kept.append(function(*args, **kwargs)))
    return kept[0] if kept else None


def by_first(function: Callable) -> Callable:
    """Decorator: `of_first` at every call."""
    return functools.wraps(function)(lambda *args, **kwargs: of_first(function, *args, **kwargs))


def of_all(function: Callable, *args) -> list:
    """What `function` gives in each process, in their order; the first error is raised in all."""
    if _place.size == 1:
        return [function(*args)]
    import torch.distributed

    gathered: list = [None] * _place.size
    torch.distributed.all_gather_object(gathered, _attempt(function, *args))
    return [_unpacked(one) for one in gathered]


def dealt(function: Callable, pieces: Sequence[tuple]) -> list:
    """[function(*piece) for piece in pieces], the pieces dealt to the processes in turn."""
    own = of_all(lambda: [function(*piece) for i, piece in enumerate(pieces) if mine(i)])
    return [own[i % _place.size][i // _place.size] for i in range(len(pieces))]


def merged(values: dict[str, list]) -> None:
    """Append to every list of `values` those of the same name of all other processes, in place and in one order."""
    if _place.size == 1:
        return
    everyone = of_all(dict, values)
    values.clear()
    for own in everyone:
        for name, some in own.items():
            values.setdefault(name, []).extend(some)


def summed(tensors: Iterable) -> None:
    """Put in the place of every tensor its sum over the processes, bit for bit the same in all. float32."""
    tensors = list(tensors)
    if _place.size == 1 or not tensors:
        return
    import torch

    flat = torch.cat([tensor.detach().flatten().float().cpu() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(total.view(tensor.shape))


class _Failure(NamedTuple):
    error: Exception


def _attempt(function: Callable, *args, **kwargs):
    """The value, or the failure, which the other processes must hear of or they would wait for ever."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return _Failure(error if _can_be_sent(error) else RuntimeError(f"{type(error).__name__}: {error}"))


def _can_be_sent(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def _unpacked(value):
    if isinstance(value, _Failure):
        raise value.error
    return value


def _broadcast(value):
    import torch.distributed

    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
