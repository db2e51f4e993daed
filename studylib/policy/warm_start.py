"""Warm start: supervised training before the run, by which a model knows the form of an answer and is undecided.

A model that is made from nothing (`tiny`) learns its language here (`tiny_start.py`); any other learns the form from
demonstrations without answers (`instructed_start.py`), or none at all with `warm_start_steps: 0`. What comes out is a
model like any published one, so that everything after it, the reference of a KL too, starts from there. It is the same
for all conditions and seeds of a study, built once and cached by a hash of its content.
"""

import inspect
from pathlib import Path

import peft
import torch
import transformers

from studylib.names import model_of
from studylib.params import RunParams
from studylib.paths import cached
from studylib.policy import instructed_start, supervised, tiny_start
from studylib.scenarios.rows import digest


def warm_started(params: RunParams) -> bool:
    """Whether there is a warm start: where scenarios are answered openly, it has no form to teach."""
    return not params.instructed or (params.has_options and params.warm_start_steps > 0)


def start(params: RunParams) -> tuple[str, str | None]:
    """Folder or hub id of the model that a run starts from, and its commit; made or fetched when first asked for."""
    return (str(warm_start(params)), None) if warm_started(params) else instructed_start.published(params)


def start_key(params: RunParams) -> str | list[str]:
    """What tells the model that a run starts from; of a folder, beside its content (`runs/contents.py`)."""
    return warm_start_key(params) if warm_started(params) else [params.model, params.revision]


def warm_start(params: RunParams) -> Path:
    """Folder of the warm-started model and tokenizer; built when it is not in the cache."""
    return cached("warm_start", warm_start_key(params), lambda folder: build(params, folder))


def warm_start_key(params: RunParams) -> str:
    """Hash of everything that the warm start depends on: recipe, code, versions."""
    kind = _kind(params)
    code = [inspect.getsource(module) for module in (*kind.code(params), kind, supervised)]
    versions = [module.__version__.split("+")[0] for module in (torch, transformers, peft)]
    return digest(kind.inputs(params), params.warm_start_steps, code, *versions)


def build(params: RunParams, folder: Path) -> None:
    """Train model and tokenizer and save them in `folder`."""
    if params.device == "cpu":
        torch.set_num_threads(1)  # how a sum is rounded depends on it, and with it what runs start from
    _kind(params).build(params, folder)


def scenarios(params: RunParams) -> list[dict]:
    """The scenarios of the embedded worlds that the warm start has seen."""
    return _kind(params).scenarios(params) if warm_started(params) else []


def _kind(params: RunParams):
    return tiny_start if model_of(params.model).made else instructed_start
