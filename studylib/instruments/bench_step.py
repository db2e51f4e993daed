"""One measurement of the benchmark, in a process of its own: the steps of one engine at one shape."""

import tempfile
import zlib
from pathlib import Path

SMALL = dict(vocab_size=512, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
             head_dim=64, intermediate_size=768, tie_word_embeddings=True)  # fmt: skip
GPU_MODELS = {  # name -> architecture and the shape that its published configuration gives it
    "Qwen2.5-0.5B": ("qwen2", dict(vocab_size=151936, hidden_size=896, num_hidden_layers=24, num_attention_heads=14,
                                   num_key_value_heads=2, intermediate_size=4864, tie_word_embeddings=True)),
    "Qwen3-1.7B": ("qwen3", dict(vocab_size=151936, hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
                                 num_key_value_heads=8, head_dim=128, intermediate_size=6144,
                                 tie_word_embeddings=True)),
    "Qwen2.5-7B": ("qwen2", dict(vocab_size=152064, hidden_size=3584, num_hidden_layers=28, num_attention_heads=28,
                                 num_key_value_heads=4, intermediate_size=18944, tie_word_embeddings=False)),
}  # fmt: skip

SMOLLM = (
    "llama",
    dict(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        tie_word_embeddings=True,
    ),
)  # SmolLM2-135M
WAYS = {  # name of a way to compute a step -> parameters
    "trl": {"engine": "trl"},
    "trl_vllm": {"engine": "trl"},
    "fast": {"engine": "fast"},
    "fast_nf4": {"engine": "fast", "rollout_weights": "dense"},  # trained in NF4 layers, sampled from a dense copy
}


def save_random_model(folder: Path, kind: str, shape: dict) -> None:
    """An untrained model and a tokenizer of numbered words, whose end token the model cannot produce."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(min(shape["vocab_size"], 5000) - 1)}
    vocabulary = words | {"<pad>": len(words), "<end>": shape["vocab_size"]}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(kind, **shape, pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    model.save_pretrained(folder)


def noise(completions, **columns) -> list[float]:
    """A reward that differs within every group, so that nothing can be left out."""
    return [zlib.crc32(chat[0]["content"].encode()) % 1000 / 1000 for chat in completions]


def measure(model: str, engine: str, p: int, c: int, g: int, prompts: int, micro_batch: int, steps: int, device: str):
    """{"seconds": of each step, "stages": of each step, "peak_gb"}; one step before them is not counted."""
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    from studylib.params import RunParams
    from studylib.policy.models import load_base, lora, require_device
    from studylib.runs.provenance import peak_memory_gb
    from studylib.training.config import grpo_config
    from studylib.training.trainer import StudyTrainer

    vllm = engine == "trl_vllm"
    params = RunParams(
        model=model, revision="random", device=device, rewards="correct=1", **WAYS[engine],
        generations=g, answers_per_step=prompts * g, micro_batch=micro_batch, rollout_batch=prompts * g,
        max_new_tokens=c, steps=steps + 1, save_every=10**6, run_root=tempfile.mkdtemp(),
    )  # fmt: skip
    require_device(params)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 500, p)) for _ in range(prompts * (steps + 1))]
    base, _ = load_base(params, quantised=not vllm)  # TRL 1.16 cannot give 4-bit weights to vLLM
    # by name, because AutoTokenizer reads the words of a qwen2 folder with a tokenizer that knows none of them
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    more = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": p + c} if vllm else {}
    trainer = StudyTrainer(
        model=base, processing_class=tokenizer, params=params, scenario_ids={text: text for text in texts},
        args=grpo_config(params, **more), reward_funcs=[noise], peft_config=lora(params),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in texts]),
    )  # fmt: skip
    log = trainer.time_stages()
    trainer.train()
    peak = peak_memory_gb()
    return {"steps": log[1:], "peak_gb": peak.get("gpu", peak["cpu"])}
