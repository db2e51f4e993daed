"""The policy: an NF4 base with double quantisation and a LoRA adapter on all linear layers (QLoRA, arXiv 2305.14314).

bitsandbytes 0.50.2 packs a 4-bit layer for good at its first no-grad forward in eval() mode on CPUs with AVX512-BF16;
later forwards in training then silently return wrong gradients. So a policy stays in train() mode, with every dropout
at 0, for sampling and evaluation too, and `check_gradients` verifies at the start of every run that this holds there.
"""

import contextlib
import ctypes
from collections.abc import Sequence

import torch
from peft import LoraConfig
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from studylib.params import RunParams
from studylib.policy.precision import nf4, precision
from studylib.policy.warm_start import start, warm_started
from studylib.text.tokens import end_tokens, require_chat, require_tags


def require_device(params: RunParams) -> None:
    """Refuse a GPU profile on a machine without a GPU that is large enough, before anything is downloaded."""
    if params.device == "cpu":
        torch.set_num_threads(1)  # two runs side by side beat two threads at this size
        return
    if not torch.cuda.is_available():
        raise ValueError(f"profile {params.profile!r} needs a CUDA GPU and this machine has none; use tiny_cpu")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    if memory < params.min_gpu_gb:
        raise ValueError(f"profile {params.profile!r} needs {params.min_gpu_gb} GiB of GPU memory, found {memory:.1f}")


def give_large_tensors_back(size: int = 16 * 2**20) -> None:
    """Let glibc return tensors of `size` bytes or more to the system when they are freed; elsewhere do nothing.

    Its default threshold grows to 32 MiB, and smaller tensors stay in a heap with holes: a step of the fast path took
    half as much memory again. Plain TRL is left alone: its larger tensors make it slower this way.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-3, size)  # M_MMAP_THRESHOLD


def load_base(params: RunParams, quantised: bool = True, tokenizer=None):
    """(NF4 model, tokenizer with left padding), made, warm-started or downloaded when they are first asked for.

    What ends an answer becomes one set here: the tokenizer's end token and those of the generation config. `tokenizer`:
    where it is loaded already.
    """
    disable_progress_bar()
    name, revision = start(params)
    dtype = precision(params.device).dtype
    config = AutoConfig.from_pretrained(name, revision=revision)
    config.attention_dropout = 0.0  # sampling and evaluation run in train() mode
    model = AutoModelForCausalLM.from_pretrained(
        name, revision=revision, config=config, quantization_config=nf4(dtype) if quantised else None, dtype=dtype,
        device_map={"": params.device},
    )  # fmt: skip
    tokenizer = tokenizer or load_tokenizer(params)
    model.generation_config.eos_token_id = list(end_tokens(model, tokenizer))
    return model, tokenizer


def load_tokenizer(params: RunParams):
    disable_progress_bar()
    name, revision = start(params)
    return AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")


def load_policy(params: RunParams):
    """`load_base` of a model that can be asked and whose answers can be read.

    Any other is refused, most before their weights are loaded; only the generation config, which comes with the
    weights, may say that a tag ends an answer.
    """
    tokenizer = load_tokenizer(params)
    require_chat(tokenizer, params.model)
    if params.has_options:
        require_tags(tokenizer, params.model)
    model, _ = load_base(params, tokenizer=tokenizer)
    if params.has_options:
        require_tags(tokenizer, params.model, end_tokens(model, tokenizer))
    return model, tokenizer


def require_positions(model, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    """Refuse prompts (token ids) that with the longest answer allowed go beyond the model's positions."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if positions and longest + max_new_tokens > positions:
        raise ValueError(
            f"parameter max_new_tokens = {max_new_tokens} is not allowed: the longest prompt has {longest} tokens and "
            f"{model.config.name_or_path!r} has {positions} positions, so at most {positions - longest}"
        )


def lora(params: RunParams) -> LoraConfig:
    return LoraConfig(
        r=params.lora_r, lora_alpha=params.lora_alpha, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM", revision=(not warm_started(params) and params.revision) or None,
    )  # fmt: skip


@contextlib.contextmanager
def sampling_mode(model):
    """No gradients, a KV cache, and train() mode throughout (see the module's docstring)."""
    checkpointing = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    model.train()
    if checkpointing:  # transformers turns the KV cache off under gradient checkpointing
        model.gradient_checkpointing_disable()
    try:
        with torch.no_grad():
            yield model
    finally:
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})


def steady_attention(model):
    """On a CPU in 16 bits: attention weights in float32. Elsewhere nothing.

    Torch's fast kernel for this case rounds them in blocks that depend on the number of queries, so that one token at a
    time and a whole answer differ by 0.2 % of a token's probability.
    """
    rounded = model.device.type == "cpu" and model.dtype != torch.float32
    return sdpa_kernel(SDPBackend.MATH) if rounded else contextlib.nullcontext()


def lora_gradients(model, tokenizer, text: str = "Is this permissible or wrong?") -> torch.Tensor:
    """All LoRA gradients of the mean log-likelihood of `text`, as one flat fp32 vector."""
    batch = tokenizer(text, return_tensors="pt").to(model.device)
    trainable = [p for p in model.parameters() if p.requires_grad]
    loss = model(**batch, labels=batch["input_ids"]).loss
    gradients = torch.autograd.grad(loss, trainable)
    return torch.cat([g.float().flatten() for g in gradients])


def check_gradients(model, tokenizer) -> float:
    """Relative change of the LoRA gradients through one sampling pass. Raises RuntimeError when they change.

    Run at the start of every training; see the module's docstring for the fault that it would catch.
    """
    model.train()
    before = lora_gradients(model, tokenizer)
    with sampling_mode(model):
        prompt = tokenizer("Is this", return_tensors="pt").to(model.device)
        model.generate(**prompt, max_new_tokens=2, do_sample=False)
    change = float((lora_gradients(model, tokenizer) - before).norm() / before.norm())
    if not change < 1e-2:
        raise RuntimeError(f"LoRA gradients changed by {change:.1%} after sampling: the 4-bit layers cannot be trusted")
    return change
