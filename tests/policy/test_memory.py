"""What runs need of a GPU, against what cards have and what was measured."""

import types

import pytest
import torch
from transformers import AutoConfig

from studylib.axes import profile_names, read_profile
from studylib.instruments.random_models import config_of, cut
from studylib.params import RunParams
from studylib.policy.dense import use_dense_copy
from studylib.policy.memory import GIB, SHAPES, Shape, fits_with_dense_copy, memory_needed
from studylib.policy.models import require_device

GPU_PROFILES = [name for name in profile_names() if read_profile(name).get("model") in SHAPES]
REPORTED = {14: 14.56, 21: 21.96, 75: 79.1}  # min_gpu_gb -> the least GiB that cards of the kind report


@pytest.mark.parametrize("profile", GPU_PROFILES)
def test_every_profile_fits_its_card_with_a_tenth_to_spare(profile):
    params = RunParams.resolve({"profile": profile})
    assert memory_needed(params, SHAPES[params.model], dense=True)["total"] < 0.9 * params.min_gpu_gb


@pytest.mark.parametrize("profile", GPU_PROFILES)
def test_cards_of_a_profile_are_taken_as_they_report_themselves(profile, monkeypatch):
    params = RunParams.resolve({"profile": profile})
    card = types.SimpleNamespace(total_memory=REPORTED.get(params.min_gpu_gb, params.min_gpu_gb) * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    require_device(params)


@pytest.mark.parametrize("size, measured", [("0.5B-Instruct", 69e3), ("1.5B-Instruct", 128e3), ("7B", 280e3)])
def test_activations_are_those_measured(size, measured):
    assert SHAPES[f"Qwen/Qwen2.5-{size}"].activation_bytes == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    "model, billions",
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.494), ("Qwen/Qwen2.5-1.5B-Instruct", 1.544),
        ("Qwen/Qwen2.5-3B-Instruct", 3.086), ("Qwen/Qwen2.5-7B", 7.616), ("meta-llama/Llama-3.1-8B-Instruct", 8.030),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.1345),
    ],
)  # fmt: skip
def test_the_weights_of_a_shape_are_those_of_the_model(model, billions):
    """Published counts of parameters; norms and biases are left out."""
    shape = SHAPES[model]
    assert (shape.linear_weights + shape.embedding_weights) / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_shape_is_read_from_the_configuration_that_it_makes(shape):
    assert Shape.of(config_of(shape)) == shape


def test_a_shape_is_cut_to_the_layers_whose_weights_fit():
    whole = SHAPES["Qwen/Qwen2.5-7B"]
    assert cut(whole, 100.0) == whole
    part = cut(whole, 4.0)
    weights = 2 * (part.linear_weights + part.embedding_weights) / GIB
    assert 3.5 < weights <= 4.0 and part == whole._replace(layers=part.layers)
    assert cut(whole, 0.5).layers == 1, "the embeddings alone are larger"


def test_memory_grows_with_what_is_held():
    params = {"profile": "gpu_24gb"}
    shape = SHAPES["Qwen/Qwen2.5-1.5B-Instruct"]

    def parts(dense=True, **given):
        return memory_needed(RunParams.resolve({**params, **given}), shape, dense)

    plain = parts()
    assert parts(micro_batch=16)["training"] == pytest.approx(2 * plain["training"], rel=0.1)
    assert parts(gradient_checkpointing=True)["training"] < plain["training"] / 4
    assert parts(rollout_batch=512)["sampling"] == pytest.approx(2 * plain["sampling"])
    assert parts(lora_r=64)["adapter"] == pytest.approx(2 * plain["adapter"])
    assert plain["total"] - parts(dense=False)["total"] == pytest.approx(plain["dense"])


def test_the_tile_of_the_head_is_no_narrower_where_there_are_fewer_words():
    params = RunParams.resolve({"profile": "gpu_24gb"})
    whole = SHAPES["Qwen/Qwen2.5-1.5B-Instruct"]
    training = [
        memory_needed(params, whole._replace(vocabulary=n), True)["training"] * GIB for n in (1024, 32768, 10**6)
    ]
    rows = params.micro_batch * params.max_new_tokens
    assert training[1] - training[0] == pytest.approx(rows * 4 * (32768 - 1024)), "the logits in float32 alone"
    assert training[2] == training[1]


@pytest.mark.parametrize("size, dense", [(24, True), (14, False)])
def test_a_run_samples_alike_whatever_is_free_at_the_moment(monkeypatch, size, dense):
    params = RunParams.resolve({"profile": "gpu_24gb"})
    config = AutoConfig.for_model(
        "qwen2", vocab_size=151936, hidden_size=1536, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, intermediate_size=8960, tie_word_embeddings=True,
    )  # fmt: skip
    policy, card = types.SimpleNamespace(config=config), types.SimpleNamespace(total_memory=size * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    decided = []
    for free in (size, size / 2, 0.1):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free * GIB, size * GIB))
        decided.append(use_dense_copy(params, policy))
    assert decided == [dense] * 3
    assert fits_with_dense_copy(params, config) == dense
