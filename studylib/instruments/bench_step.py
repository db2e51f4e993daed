"""One measurement of the benchmark, in a process of its own: the steps of one engine at one shape."""

import tempfile
import zlib

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from studylib.params import RunParams
from studylib.policy.memory import SHAPES, Shape
from studylib.policy.models import load_base, lora, require_device
from studylib.runs.provenance import peak_memory_gb
from studylib.training.config import grpo_config
from studylib.training.trainer import StudyTrainer

SMALL = Shape(512, 256, 4, 4, 4, 64, 768, True, "qwen3")
GPU_MODELS = {size: SHAPES[f"Qwen/Qwen2.5-{size}-Instruct"] for size in ("0.5B", "1.5B", "7B")}
SMOLLM = SHAPES["HuggingFaceTB/SmolLM2-135M-Instruct"]
WAYS = {  # name of a way to compute a step -> parameters
    "trl": {"engine": "trl"},
    "trl_vllm": {"engine": "trl"},
    "fast": {"engine": "fast"},
    "fast_nf4": {"engine": "fast", "rollout_weights": "dense"},  # trained in NF4 layers, sampled from a dense copy
}


def noise(completions, **columns) -> list[float]:
    """A reward that differs within every group, so that nothing can be left out."""
    return [zlib.crc32(chat[0]["content"].encode()) % 1000 / 1000 for chat in completions]


def trainer_of(params: RunParams, p: int, prompts: int, quantised: bool = True, **more) -> StudyTrainer:
    """A trainer of the model of numbered words in `params.model`, for `prompts` prompts of `p` tokens each.

    Its answers have exactly `max_new_tokens` tokens, and their rewards differ within every group. `more` goes to TRL.
    """
    require_device(params)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 500, p)) for _ in range(prompts)]
    base, _ = load_base(params, quantised)
    # by name, because AutoTokenizer reads the words of a qwen2 folder with a tokenizer that knows none of them
    tokenizer = PreTrainedTokenizerFast.from_pretrained(params.model, padding_side="left")
    return StudyTrainer(
        model=base, processing_class=tokenizer, params=params, scenario_ids={text: text for text in texts},
        args=grpo_config(params, **more), reward_funcs=[noise], peft_config=lora(params),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in texts]),
    )  # fmt: skip


def measure(model: str, engine: str, p: int, c: int, g: int, prompts: int, micro_batch: int, steps: int, device: str):
    """{"seconds": of each step, "stages": of each step, "peak_gb"}; one step before them is not counted."""
    vllm = engine == "trl_vllm"
    params = RunParams(
        model=model, revision="random", device=device, rewards="correct=1", warm_start_steps=0, **WAYS[engine],
        generations=g, answers_per_step=prompts * g, micro_batch=micro_batch, rollout_batch=prompts * g,
        max_new_tokens=c, steps=steps + 1, save_every=10**6, run_root=tempfile.mkdtemp(),
    )  # fmt: skip
    more = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": p + c} if vllm else {}
    # TRL 1.16 cannot give 4-bit weights to vLLM
    trainer = trainer_of(params, p, prompts * (steps + 1), quantised=not vllm, **more)
    log = trainer.time_stages()
    trainer.train()
    peak = peak_memory_gb()
    return {"steps": log[1:], "peak_gb": peak.get("gpu", peak["cpu"])}
