"""The policy: 4-bit base, LoRA everywhere, gradients that stay right after sampling."""

import contextlib
import types

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import get_peft_model

from studylib.policy import models, tiny
from studylib.policy.models import check_gradients, load_base, lora, lora_gradients, require_device
from studylib.policy.precision import precision


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    from conftest import MINIATURE

    from studylib.params import RunParams

    params = RunParams.resolve({**MINIATURE, "run_root": str(tmp_path_factory.mktemp("runs"))})
    model, tokenizer = load_base(params)
    return get_peft_model(model, lora(params)).train(), tokenizer


@pytest.mark.parametrize(
    "device, capability, dtype, reason",
    [
        ("cpu", None, torch.float32, "CPU"),
        ("cuda", (7, 5), torch.float16, "no bfloat16"),  # T4
        ("cuda", (8, 0), torch.bfloat16, "Ampere"),
        ("cuda", (8, 9), torch.bfloat16, "Ampere"),
        ("cuda", (9, 0), torch.bfloat16, "Ampere"),
    ],
)
def test_the_compute_dtype_and_why(device, capability, dtype, reason):
    choice = precision(device, capability)
    assert choice.dtype == dtype and reason in choice.reason


def test_a_gpu_profile_without_a_gpu_is_refused(miniature, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="profile 'colab_t4' needs a CUDA GPU and this machine has none"):
        require_device(miniature(profile="colab_t4"))


def test_a_gpu_that_is_too_small_is_refused(miniature, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    small = types.SimpleNamespace(total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: small)
    with pytest.raises(ValueError, match=r"'gpu_80gb' needs 75.0 GiB of GPU memory, found 16.0"):
        require_device(miniature(profile="gpu_80gb"))
    require_device(miniature(profile="colab_t4"))


def test_the_base_is_nf4_with_double_quantisation_and_every_linear_layer_has_lora(policy):
    model, _ = policy
    linear = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert len(linear) == 7 * tiny.SHAPE["num_hidden_layers"]
    for name, module in linear.items():
        assert module.weight.quant_type == "nf4" and module.weight.quant_state.nested
        assert name.endswith("base_layer"), "wrapped by an adapter"
    assert not any(p.requires_grad for name, p in model.named_parameters() if "lora_" not in name)


def test_the_tiny_model_is_tiny_and_its_dropout_is_off(policy):
    model, _ = policy
    assert 1e6 <= tiny.tiny_model(policy[1]).num_parameters() <= 4e6
    assert model.config.attention_dropout == 0.0
    assert not [m for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]


def test_tokens_round_trip_and_tags_are_single_tokens(policy):
    tokenizer = policy[1]
    for text in ("<think>Nobody was deceived.</think><answer>wrong</answer>", "Größe, 道徳, emoji 🙂"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert all(len(tokenizer(tag)["input_ids"]) == 1 for tag in tiny.VISIBLE_TAGS)


def test_gradients_are_the_same_after_sampling_and_evaluation(policy):
    model, tokenizer = policy
    torch.nn.init.normal_(next(p for name, p in model.named_parameters() if "lora_B" in name), std=0.1)
    before = lora_gradients(model, tokenizer)
    assert before.norm() > 0
    assert check_gradients(model, tokenizer) < 1e-4
    after = lora_gradients(model, tokenizer)
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-6)


def test_the_self_check_finds_the_fault_of_4_bit_layers_on_this_kind_of_cpu(miniature, monkeypatch):
    """What `sampling_mode` avoids: one no-grad forward in eval() mode on a CPU with AVX512-BF16."""
    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("THE FAULT CANNOT SHOW HERE: the CPU has no AVX512-BF16")

    @contextlib.contextmanager
    def plain_evaluation(model):
        model.eval()
        with torch.no_grad():
            yield
        model.train()

    params = miniature()
    model, tokenizer = load_base(params)
    model = get_peft_model(model, lora(params))
    monkeypatch.setattr(models, "sampling_mode", plain_evaluation)
    with pytest.raises(RuntimeError, match="gradients changed by .* the 4-bit layers cannot be trusted"):
        check_gradients(model, tokenizer)


def test_sampling_mode_puts_gradient_checkpointing_back(policy):
    model, _ = policy
    model.gradient_checkpointing_enable({"use_reentrant": False})

    def checkpointed():
        return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())

    assert checkpointed()
    with models.sampling_mode(model):
        assert not checkpointed() and model.training and not torch.is_grad_enabled()
    assert checkpointed()
    model.gradient_checkpointing_disable()
