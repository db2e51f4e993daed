"""Products by oneDNN: the numbers and gradients of the plain layers, for hub models on a CPU; the tiny model never."""

import pytest
import torch
from answer_batches import PAD, C, batch
from hub_models import hub_model
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from training_runs import start
from trl.trainer.utils import add_fused_lm_head

from studylib.policy import products
from studylib.policy.dense import DenseCopy, use_dense_copy
from studylib.policy.head import TokenScores
from studylib.policy.models import check_gradients, load_base, lora
from studylib.policy.products import AdaptedProduct, FrozenProduct, give_products, has_products, own_head
from studylib.policy.rollout import rollout, sampler
from studylib.policy.sampling import Sampling
from studylib.policy.scoring import shared_prompt_scores


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected):
    return (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("n", "k", "o", "r"), [(7, 64, 192, 4), (1, 576, 64, 16), (130, 100, 33, 1)])
def test_value_and_gradients_are_those_of_the_expression(n, k, o, r, bias):
    """Against automatic differentiation in float64; the gradient that comes in is dense, transposed or repeated."""
    exact = [random(n, k), random(o, k, seed=1), random(o, seed=2) if bias else None]
    exact += [random(r, k, seed=3), random(o, r, seed=4)]
    learnt = [exact[0], exact[3], exact[4]]
    single = [part if part is None else part.float() for part in exact]
    for part in [*learnt, single[0], single[3], single[4]]:
        part.requires_grad_()
    x, weight, of_bias, a, b = exact
    value = x @ weight.T + (0 if of_bias is None else of_bias) + 0.5 * (x @ a.T) @ b.T
    found = AdaptedProduct.apply(*single, 0.5)
    assert close(found.double(), value)
    for weights in (random(n, o, seed=5), random(o, n, seed=5).T, random(1, 1).expand(n, o)):
        expected = torch.autograd.grad(value, learnt, weights, retain_graph=True)
        got = torch.autograd.grad(found, [single[0], single[3], single[4]], weights.float(), retain_graph=True)
        assert all(close(g.double(), e) for g, e in zip(got, expected, strict=True))
        frozen = FrozenProduct.apply(*single[:3])
        assert close(frozen.double(), value - 0.5 * (x @ a.T) @ b.T)
        (of_x,) = torch.autograd.grad(frozen, single[0], weights.float())
        assert close(of_x.double(), weights @ weight)


@pytest.mark.parametrize(("n", "v", "temperature"), [(300, 50, 0.7), (1, 1000, 1.0), (128, 33, 2.0)])
def test_scores_of_tokens_and_their_gradients_are_those_of_a_log_softmax(n, v, temperature):
    """Log-probability alone, entropy alone, and both; against automatic differentiation in float64."""
    hidden, weight, targets = random(n, 16), random(v, 16, seed=1), torch.arange(n) * 7 % v
    single = hidden.float().requires_grad_()
    hidden.requires_grad_()
    logs = torch.log_softmax(hidden @ weight.T / temperature, -1)
    exact = logs.gather(1, targets[:, None])[:, 0], -(logs.exp() * logs).sum(1)
    found = TokenScores.apply(single, weight.float(), targets, temperature)
    assert all(close(f.double(), e) for f, e in zip(found, exact, strict=True))
    weights = random(n, seed=2), random(n, seed=3)
    for chosen in ([0], [1], [0, 1]):
        (expected,) = torch.autograd.grad(sum((exact[i] * weights[i]).sum() for i in chosen), hidden, retain_graph=True)
        loss = sum((found[i] * weights[i].float()).sum() for i in chosen)
        (got,) = torch.autograd.grad(loss, single, retain_graph=True)
        assert close(got.double(), expected)


@pytest.mark.parametrize("name", products.SCALES)
def test_logits_that_are_scaled_are_left_to_trl(miniature, name):
    model, _ = policy_of(miniature())
    assert own_head(model) is None, "without the products too"
    give_products(model, 0.7)
    assert own_head(model) == 0.7
    setattr(model.config, name, 2.0)
    assert own_head(model) is None


def policy_of(params):
    """A policy in NF4 with an adapter that does something."""
    model, tokenizer = load_base(params)
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    model = get_peft_model(model, lora(params)).train()
    for i, (name, parameter) in enumerate(model.named_parameters()):
        if "lora_B" in name:
            parameter.data.copy_(0.1 * random(*parameter.shape, seed=i))
    return model, tokenizer


def scored(model, checkpointing=False):
    """Log-probabilities and entropy, with and without the adapter, and the LoRA gradients."""
    ids, mask = batch(padded=True)
    with torch.no_grad(), model.disable_adapter():
        reference = shared_prompt_scores(model, ids, mask, C).logps
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    logps, entropy, *_ = shared_prompt_scores(model, ids, mask, C)
    weights = random(*logps.shape, seed=9).float()
    gradients = torch.autograd.grad((logps * weights).sum(), [p for p in model.parameters() if p.requires_grad])
    model.gradient_checkpointing_disable()
    return reference, logps, entropy * mask[:, -C:], torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_policy_scores_learns_and_answers_as_before(miniature, checkpointing):
    model, tokenizer = policy_of(miniature())
    prompts = [list(range(10, 20)), list(range(30, 37)), list(range(10, 20))] * 3
    how = range(9), Sampling(12, (3,)), PAD
    expected, copied = scored(model, checkpointing), DenseCopy(model).refresh()
    answers, stored = rollout(copied, prompts, *how), {name: p.clone() for name, p in model.state_dict().items()}
    give_products(model, 0.7)
    for found, before in zip(scored(model, checkpointing), expected, strict=True):
        assert close(found, before)
    assert not torch.equal(expected[0], expected[1]), "the adapter does something, and can be switched off"
    assert rollout(model, prompts, *how) == answers
    assert len(set(map(tuple, answers))) > 6
    assert check_gradients(model, tokenizer) < 1e-4
    assert all(torch.equal(p, stored[name]) for name, p in model.state_dict().items()), "nothing else is saved"
    assert model.state_dict().keys() == stored.keys()


def test_in_bfloat16_a_policy_learns_what_it_learns_in_float32_up_to_rounding(miniature):
    """Layers alone: the head, whose logits would be rounded to 1/16, stays in float32."""
    model, _ = policy_of(miniature())
    expected = scored(model, False)
    give_products(model, 0.7, torch.bfloat16)
    reference, logps, entropy, gradient = scored(model, False)
    assert 0 < (logps - expected[1]).abs().max() < 0.02 and (reference - expected[0]).abs().max() < 0.02
    assert (entropy - expected[2]).abs().max() < 0.02
    assert 0 < (gradient - expected[3]).norm() / expected[3].norm() < 0.02
    assert logps.dtype == gradient.dtype == torch.float32


@pytest.mark.parametrize("has_it, dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_layers_are_in_bfloat16_where_the_cpu_multiplies_it(small, monkeypatch, has_it, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True} if has_it else {})
    params = small()
    trainer = start(params)
    assert products.layers_dtype() == dtype
    assert str(dtype).removeprefix("torch.") in products.computed_in(params, trainer.model)
    layer = next(m for m in trainer.model.modules() if isinstance(m, LoraLayer))
    assert layer.forward.args[1].dtype == dtype
    assert trainer.model.get_output_embeddings().forward.args[0].dtype == torch.float32


@pytest.fixture
def small(miniature, tmp_path, monkeypatch):
    """Parameters of a miniature run of a hub model, on a CPU that has what it takes."""
    monkeypatch.setattr(products, "has_onednn", lambda: True)
    folder = hub_model(tmp_path / "model", special=("<think>", "</think>", "<answer>", "</answer>"))
    return lambda **given: miniature(**({"model": folder, "revision": "none", "max_new_tokens": 4} | given))


def test_a_hub_model_on_a_cpu_is_its_own_sampler(small):
    params = small()
    trainer = start(params)
    assert has_products(trainer.model) and not trainer.dense
    assert sampler(params, trainer.model) is trainer.model


@pytest.mark.parametrize(
    "given", [{"rollout_weights": "dense"}, {"rollout_weights": "nf4"}, {"engine": "trl"}], ids=str
)
def test_other_weights_and_plain_trl_keep_their_layers(small, given):
    assert not has_products(start(small(**given)).model)


def test_the_tiny_model_keeps_the_products_of_its_committed_studies(miniature, monkeypatch):
    monkeypatch.setattr(products, "has_onednn", lambda: True)
    trainer = start(miniature())
    assert not has_products(trainer.model) and use_dense_copy(miniature(), trainer.model)
    assert not any("forward" in vars(module) for module in trainer.model.modules() if "lora" in type(module).__module__)


@pytest.mark.parametrize(("onednn", "capability"), [(False, "AVX512"), (True, "AVX2"), (True, "DEFAULT")])
def test_a_cpu_without_the_kernels_keeps_torchs_own(monkeypatch, onednn, capability):
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: onednn)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert not products.has_onednn()
