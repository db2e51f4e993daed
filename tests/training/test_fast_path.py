"""The fast path against plain TRL: same log-probabilities, same gradients, same distribution of answers."""

import contextlib
import itertools
import json

import numpy as np
import pytest
import torch
from answer_batches import PAD, C, batch
from peft import LoraConfig, get_peft_model
from scipy import stats
from training_runs import start
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from trl.trainer.utils import add_fused_lm_head

from studylib.policy import decoder, dense, models
from studylib.policy.decoder import GRAPHS, WIDTH
from studylib.policy.dense import DenseCopy
from studylib.policy.models import load_base, lora, steady_attention
from studylib.policy.precision import Precision
from studylib.policy.rollout import as_in_training, rollout, sampler
from studylib.policy.sampling import NoToken, Sampling, draw, uniforms
from studylib.policy.scoring import scores_in_passes, shared_prompt_scores, why_not
from studylib.scenarios.selection import select
from studylib.training.batches import micro_batches


def policy_of(params, temperature=1.0):
    """A 4-bit policy with an adapter that does something, and TRL's fused head."""
    model, tokenizer = load_base(params)
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    model = get_peft_model(model, lora(params)).train()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)
    return model, tokenizer


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    from conftest import MINIATURE

    from studylib.params import RunParams

    return policy_of(RunParams.resolve({**MINIATURE, "run_root": str(tmp_path_factory.mktemp("runs"))}), 0.7)


def plain_scores(model, ids, mask):
    """As TRL 1.16 scores answers: every prompt again for each of them."""
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-C] = -100
    output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return output.log_probs[:, -C:], output.entropy[:, -C:]


def gradient(model, loss):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])]
    )


# --- scoring ---


@pytest.mark.parametrize("checkpointing", [False, True], ids=["whole", "lean"])
@pytest.mark.parametrize("groups", [(4, 4, 4), (5, 1, 2)], ids=["equal groups", "unequal groups"])
@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
def test_scores_and_gradients_are_those_of_encoding_every_prompt_again(policy, padded, groups, checkpointing):
    model, _ = policy
    ids, mask = batch(padded, groups)
    real = mask[:, -C:].bool()
    weights = torch.randn(real.shape, generator=torch.Generator().manual_seed(2)) * real
    logps, entropy = plain_scores(model, ids, mask)
    expected = gradient(model, (logps * weights).sum())
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    scores = shared_prompt_scores(model, ids, mask, C)
    found = gradient(model, (scores.logps * weights).sum())
    model.gradient_checkpointing_disable()
    assert torch.allclose(scores.logps[real], logps[real], atol=1e-5)
    assert torch.allclose(scores.entropy[real], entropy[real], atol=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-4
    assert not scores.logps[~real].any()


def test_scores_without_gradients_and_without_the_adapter_serve_old_policy_and_reference(policy):
    model, _ = policy
    ids, mask = batch(padded=True)
    real = mask[:, -C:].bool()
    with torch.no_grad(), model.disable_adapter():
        reference = shared_prompt_scores(model, ids, mask, C).logps
        assert torch.allclose(reference[real], plain_scores(model, ids, mask)[0][real], atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(reference[real], shared_prompt_scores(model, ids, mask, C).logps[real], atol=1e-3)


@pytest.mark.parametrize("rows", [4, 8, 9, 3, 1, 100])
@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
def test_scores_in_passes_are_those_of_one_pass(policy, rows, padded):
    model, _ = policy
    ids, mask = batch(padded, shuffled=False)
    sizes = []
    handle = model.get_base_model().register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    with torch.no_grad():
        parts = scores_in_passes(model, ids, mask, C, rows, group=4)
        answers_in_pass = sizes[1::2]
        whole = shared_prompt_scores(model, ids, mask, C)
    handle.remove()
    assert max(answers_in_pass) <= rows
    assert rows < 4 or all(size % 4 == 0 for size in answers_in_pass), "groups stay whole"
    for found, expected in zip(parts, whole, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("objective", ["reinforce_pp", "ppo", "flowrl"])
def test_reference_and_old_policy_are_scored_in_passes_of_a_micro_batch(miniature, objective):
    trainer = start(miniature(objective=objective, beta=0.1, updates_per_batch=2, micro_batch=4))
    sizes = []
    trainer.model.get_base_model().register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"]) if "shift_labels" in kwargs else 0),
        with_kwargs=True,
    )
    trainer.train()
    assert max(sizes) == 4


def saved_bytes(model, ids, mask):
    """Bytes that the forward pass keeps for the backward pass, the weights left out, and the scores."""
    weights = {p.untyped_storage().data_ptr() for p in itertools.chain(model.parameters(), model.buffers())}
    kept = {}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        scores = shared_prompt_scores(model, ids, mask, C)
    return sum(kept.values()), scores


@pytest.mark.parametrize("groups", [(4, 4, 4), (12,), (5, 1, 2)])
def test_gradient_checkpointing_keeps_the_inputs_of_layers_alone(policy, groups):
    """Before the backward pass; a checkpoint around a whole group would hold all of its layers in it."""
    model, _ = policy
    ids, mask = batch(padded=True, groups=groups)
    config = model.config
    plain, scores = saved_bytes(model, ids, mask)
    weights = torch.randn(scores.logps.shape, generator=torch.Generator().manual_seed(2))
    expected = gradient(model, (scores.logps * weights).sum())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    runs = []
    layers = model.get_base_model().model.layers
    handles = [
        layer.mlp.register_forward_pre_hook(lambda module, args, i=i: runs.append(i)) for i, layer in enumerate(layers)
    ]
    lean, scores = saved_bytes(model, ids, mask)
    forward = runs.copy()
    runs.clear()
    found = gradient(model, (scores.logps * weights).sum())
    for handle in handles:
        handle.remove()
    model.gradient_checkpointing_disable()
    n, passes = config.num_hidden_layers, 2 * len(groups)
    assert forward == list(range(n)) * passes, "prompts, then answers, of one group after the other"
    assert sorted(runs) == sorted(forward), "each layer is computed once more, none twice"
    assert all(a == b or abs(a - b) == 1 or {a, b} == {0, n - 1} for a, b in itertools.pairwise(runs))
    assert (found - expected).norm() / expected.norm() < 1e-5
    assert lean < plain / 3
    for layer in layers:
        assert layer.gradient_checkpointing is False and "_can_checkpoint_with_cache" not in vars(layer)


def test_models_that_cannot_share_prompts_say_why(policy):
    model, _ = policy
    assert why_not(model) is None
    config = model.config
    kinds = config.layer_types
    config.layer_types = ["sliding_attention", "full_attention"]
    assert "not all full attention: full_attention, sliding_attention" in why_not(model)
    config.layer_types = kinds


# --- a whole step against plain TRL ---


def step_gradient(trainer, answers, loss_type):
    """Gradient of one optimiser step from the given answers, over all its micro-batches."""
    n = trainer.args.steps_per_generation
    trainer.current_gradient_accumulation_steps = n
    if trainer.fast:
        parts = micro_batches(answers, n, loss_type, skip_zero=trainer.beta == 0)
    else:
        size = len(answers["advantages"])
        cut = {k: v for k, v in answers.items() if isinstance(v, torch.Tensor) and v.dim() and len(v) == size}
        rest = {k: v for k, v in answers.items() if k not in cut}
        parts = [{k: v.tensor_split(n)[i] for k, v in cut.items()} | rest for i in range(n)]
    total = sum(gradient_of(trainer, part) for part in parts)
    return total


def gradient_of(trainer, part):
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, part)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.requires_grad])


@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("loss_type", ["grpo", "gspo", "dr_grpo", "dapo", "cispo"])
@pytest.mark.parametrize("beta", [0.0, 0.1], ids=["no reference", "reference"])
@pytest.mark.parametrize("micro_batch", [12, 4])
def test_a_step_has_the_gradient_of_plain_trl(miniature, loss_type, beta, micro_batch, padded):
    ids, mask = batch(padded, shuffled=False)
    answers = {
        "prompt_ids": ids[:, :-C], "prompt_mask": mask[:, :-C], "completion_ids": ids[:, -C:],
        "completion_mask": mask[:, -C:], "num_items_in_batch": mask[:, -C:].sum(),
        "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 1.5, -0.5, -0.5, -0.5]),
    }  # fmt: skip
    found = {}
    for engine in ("trl", "fast"):
        params = miniature(engine=engine, beta=beta, answers_per_step=12, micro_batch=micro_batch)
        trainer = start(params)
        trainer.loss_type = trainer.args.loss_type = loss_type.replace("gspo", "grpo")
        trainer.importance_sampling_level = "sequence" if loss_type == "gspo" else "token"
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
        if beta:
            generator = torch.Generator().manual_seed(4)
            answers["ref_per_token_logps"] = -torch.rand(12, C, generator=generator) * 3
        found[engine] = step_gradient(trainer, answers, trainer.loss_type)
    assert (found["fast"] - found["trl"]).norm() / found["trl"].norm() < 1e-4


def test_answers_without_advantage_are_left_out_only_when_they_cannot_count():
    ids, mask = batch(padded=True, shuffled=False)
    answers = {
        "prompt_ids": ids[:, :-C], "completion_ids": ids[:, -C:], "completion_mask": mask[:, -C:],
        "advantages": torch.tensor([1.0, -1.0, 0, 0] + [0.0] * 8),
    }  # fmt: skip
    kept = micro_batches(answers, 2, "grpo", skip_zero=True)
    assert [len(part["advantages"]) for part in kept] == [1, 1]
    assert [part["share"] for part in kept] == [pytest.approx(2 / 12)] * 2
    assert sum(len(part["advantages"]) for part in micro_batches(answers, 2, "grpo", skip_zero=False)) == 12
    nothing = micro_batches({**answers, "advantages": torch.zeros(12)}, 2, "grpo", skip_zero=True)
    assert [(len(part["advantages"]), part["share"]) for part in nothing] == [(1, 0.0), (1, 0.0)]


def test_micro_batches_are_sorted_by_length_and_cut():
    ids, mask = batch(padded=True, groups=(4, 4, 4), shuffled=False)
    mask[0:4, -C + 3 :] = 0
    answers = {
        "prompt_ids": ids[:, :-C], "completion_ids": ids[:, -C:], "completion_mask": mask[:, -C:],
        "advantages": torch.ones(12),
    }  # fmt: skip
    parts = micro_batches(answers, 3, "grpo", skip_zero=True)
    widths = [part["completion_ids"].shape[1] for part in parts]
    assert widths == sorted(widths) and widths[0] == 3
    assert all(len(part["prompt_ids"].unique(dim=0)) == 1 for part in parts), "groups stay whole"


# --- sampling ---


def sample(model, prompts, keys, **given):
    given = {"max_new_tokens": 8, "eos": (3,)} | given
    return rollout(model, prompts, keys, Sampling(**given), PAD)


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [rng.integers(10, 1000, size=length).tolist() for length in (6, 9, 9, 12, 17)]


def test_greedy_answers_are_those_of_generate(policy, prompts):
    model, _ = policy
    for prompt, answer in zip(prompts, sample(model, prompts, range(5), temperature=0), strict=True):
        with torch.no_grad():
            output = model.generate(
                input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False, max_new_tokens=8, eos_token_id=3, pad_token_id=PAD,
            )  # fmt: skip
        assert output[0, len(prompt) :].tolist() == answer


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.7, 1.0), (1.0, 0.95)])
def test_sampled_tokens_have_the_distribution_of_generate(policy, prompts, temperature, top_p):
    """Chi-square test of homogeneity on 20,000 first tokens of each sampler; rare tokens are pooled."""
    model, _ = policy
    n, prompt = 20_000, prompts[0]
    ours = sample(model, [prompt] * n, range(n), max_new_tokens=1, temperature=temperature, top_p=top_p)
    torch.manual_seed(0)
    with torch.no_grad():
        theirs = model.generate(
            input_ids=torch.tensor([prompt] * n), attention_mask=torch.ones(n, len(prompt), dtype=torch.long),
            do_sample=True, temperature=temperature, top_p=top_p, top_k=0, max_new_tokens=1, pad_token_id=PAD,
        )[:, -1]  # fmt: skip
    counts = np.stack([np.bincount(tokens, minlength=1536) for tokens in (np.array(ours)[:, 0], theirs.numpy())])
    common = counts.sum(0) >= 20
    table = np.column_stack([counts[:, common], counts[:, ~common].sum(1)])
    table = table[:, table.sum(0) > 0]
    assert table.shape[1] > 20, "the distribution is wide enough to tell samplers apart"
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_draws_follow_the_distribution_and_never_a_token_of_probability_0():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, 2.0, -torch.inf]])
    u = torch.linspace(0, 1 - 2**-24, 10_001)
    counts = torch.bincount(draw(logits.expand(len(u), -1), u), minlength=5) / len(u)
    assert torch.allclose(counts, torch.softmax(logits[0], 0), atol=1e-3)
    assert counts[1] == counts[4] == 0
    nucleus = torch.bincount(draw(logits.expand(len(u), -1), u, top_p=0.6), minlength=5)
    assert nucleus.tolist() == [0, 0, 0, len(u), 0]


UNUSABLE = {
    "NaN": [0.0, torch.nan, 1.0], "an overflow": [0.0, torch.inf, 1.0], "two overflows": [torch.inf, torch.inf, 0.0],
    "NaN and -inf": [torch.nan, -torch.inf, 0.0], "nothing possible": [-torch.inf] * 3,
}  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"top_p": 0.9}, {"temperature": 0.1}], ids=str)
@pytest.mark.parametrize("row", UNUSABLE.values(), ids=UNUSABLE)
def test_a_draw_without_a_distribution_is_refused(row, how):
    logits = torch.tensor([[0.0, 1.0, -torch.inf], row, [1.0, 0.0, 0.0], row])
    with pytest.raises(RuntimeError, match="no token can be drawn for 2 of 4 answers: .* float16 overflows"):
        draw(logits, torch.full((4,), 0.5), **how)
    usable = draw(logits[::2], torch.full((2,), 0.5), **how)
    assert usable.max() < 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_draw_refuses_what_overflows_in_16_bits(dtype):
    logits = torch.tensor([[7e4, 1.0], [3e38 * 2, 0.0]]).to(dtype)
    with pytest.raises(NoToken, match="of 2 answers"):
        draw(logits, torch.zeros(2))


@pytest.mark.parametrize(
    "how, message",
    [
        ({"top_p": float("nan")}, "top_p = nan is not allowed: a share > 0, at most 1"),
        ({"top_p": 0.0}, "top_p = 0.0 is not allowed"),
        ({"top_p": 1.5}, "top_p = 1.5 is not allowed"),
        ({"temperature": float("nan")}, "temperature = nan is not allowed: a number >= 0"),
        ({"temperature": -1.0}, "temperature = -1.0 is not allowed"),
    ],
)
def test_a_way_of_drawing_that_means_nothing_is_refused(policy, prompts, how, message):
    with pytest.raises(ValueError, match=message):
        draw(torch.zeros(1, 3), torch.zeros(1), **how)
    with pytest.raises(ValueError, match=message):
        sample(policy[0], prompts, range(5), **how)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("value, temperature", [(torch.nan, 1.0), (torch.inf, 1.0), (torch.nan, 0.0)])
def test_a_model_whose_logits_overflow_is_refused_at_the_token_where_it_does(
    policy, prompts, monkeypatch, value, temperature, compiled
):
    calls, kind = itertools.count(), decoder.FixedDecoder if compiled else decoder.Decoder
    healthy = kind.next_logits

    def overflows(self):
        logits = healthy(self).clone()
        if next(calls) == 2:
            logits[:2, 7] = value
        return logits

    monkeypatch.setattr(kind, "next_logits", overflows)
    how = Sampling(8, (), temperature)
    with pytest.raises(RuntimeError, match="token 3 of 8: no token can be drawn for 2 of 5 answers"):
        rollout(policy[0], prompts, range(5), how, PAD, compiled=compiled, batch=5)


def test_a_training_step_whose_logits_overflow_says_which(miniature, monkeypatch):
    trainer = start(miniature())
    monkeypatch.setattr(decoder.Decoder, "next_logits", lambda self: torch.full((len(self.token), 9), torch.nan))
    with pytest.raises(RuntimeError, match="after 0 optimiser steps, token 1 of 8: no token .* for 8 of 8 answers"):
        trainer.train()


def test_the_random_numbers_of_an_answer_depend_on_its_key_alone():
    table = uniforms([(0, 1, "a", 0), (0, 1, "a", 1), (0, 2, "a", 0)], 50)
    assert np.array_equal(table[1:2, :20], uniforms([(0, 1, "a", 1)], 20))
    assert len(np.unique(table)) == table.size and table.min() >= 0 and table.max() < 1
    assert stats.kstest(uniforms(range(200), 50).ravel(), "uniform").pvalue > 0.01


def test_answers_do_not_depend_on_what_else_is_in_the_batch(policy, prompts):
    """Up to floating-point ties, which are counted: fewer than one answer in a hundred."""
    model, _ = policy
    tasks = [(prompt, (i, k)) for i, prompt in enumerate(prompts) for k in range(40)]
    together = sample(model, *zip(*tasks, strict=True))
    alone = list(itertools.chain.from_iterable(
        sample(model, *zip(*[task for task in tasks if task[1][0] == i], strict=True)) for i in range(5)
    ))  # fmt: skip
    shuffled_tasks = [tasks[i] for i in np.random.default_rng(0).permutation(len(tasks))]
    shuffled = dict(
        zip([key for _, key in shuffled_tasks], sample(model, *zip(*shuffled_tasks, strict=True)), strict=True)
    )
    in_small_batches = rollout(model, *zip(*tasks, strict=True), Sampling(8, (3,)), PAD, batch=7)
    for other in (alone, [shuffled[key] for _, key in tasks], in_small_batches):
        ties = sum(a != b for a, b in zip(together, other, strict=True))
        assert ties <= len(tasks) / 100
    assert len(set(map(tuple, together))) > 150, "answers differ, or nothing was tested"


def test_an_answer_ends_with_its_end_token_and_finished_answers_leave(policy, prompts):
    model, _ = policy
    seen = []
    handle = model.get_base_model().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    common = tuple(range(0, 1536, 4))  # one token in four ends an answer
    answers = sample(model, prompts * 20, range(100), eos=common, max_new_tokens=30)
    handle.remove()
    assert all(answer[-1] in common or len(answer) == 30 for answer in answers)
    assert not any(token in common for answer in answers for token in answer[:-1])
    assert seen[1] == 100 and seen[-1] < 20 and seen == [seen[0], *sorted(seen[1:], reverse=True)]


def test_a_prompt_is_encoded_once(policy, prompts):
    model, _ = policy
    seen = []
    handle = model.get_base_model().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    sample(model, [prompts[1]] * 8 + [prompts[2]] * 8, range(16), max_new_tokens=2, eos=())
    handle.remove()
    assert seen == [(2, len(prompts[1]) - 1), (16, 1), (16, 1)]


def test_a_cache_of_fixed_size_gives_the_same_answers(policy, prompts):
    """What CUDA graphs replay; on a CPU the compiler only traces it."""
    model, _ = policy
    tasks = prompts * 3, range(15), Sampling(6, tuple(range(0, 1536, 5))), PAD
    assert rollout(model, *tasks, compiled=True) == rollout(model, *tasks)


def test_compiled_rollouts_share_graphs_between_prompt_lengths_and_numbers_of_answers(policy, monkeypatch):
    rng, shapes, one_token = np.random.default_rng(0), set(), decoder.FixedDecoder.next_logits

    def spy(self):
        shapes.add((len(self.token), self.visible.shape[-1]))
        return one_token(self)

    monkeypatch.setattr(decoder.FixedDecoder, "next_logits", spy)
    sizes = [(5, 13), (9, 14), (17, 16), (40, 9), (70, 16), (100, 11), (129, 15), (60, 12), (33, 10), (21, 16)]
    for length, n in sizes:
        tasks = [rng.integers(10, 1000, size=length).tolist()] * n, range(n), Sampling(2, ()), PAD
        assert rollout(policy[0], *tasks, batch=16, compiled=True) == rollout(policy[0], *tasks, batch=16)
    assert shapes == {(16, WIDTH + 3)}


def test_more_graphs_than_torch_may_keep_are_refused(policy, prompts, monkeypatch):
    assert GRAPHS > 8, "torch's own limit"
    model, _ = policy
    monkeypatch.setattr(decoder, "GRAPHS", 2)
    monkeypatch.delattr(model, "_one_token", raising=False)
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match="rollout_compile: more than 2 numbers of answers and prompt lengths"):
        for n in (1, 2, 4, 8):
            rollout(model, prompts[:1] * n, range(n), Sampling(2, ()), PAD, batch=8, compiled=True)
    torch._dynamo.reset()


def test_a_prompt_of_one_token_is_refused(policy):
    with pytest.raises(ValueError, match="at least two tokens"):
        sample(policy[0], [[5]], [0])


# --- the dense copy ---


def test_the_dense_copy_is_the_policy_and_follows_its_adapter(miniature):
    model, _ = policy_of(miniature())
    ids = torch.randint(10, 1000, (3, 15), generator=torch.Generator().manual_seed(0))
    dense = DenseCopy(model)

    def gap():
        with torch.no_grad():
            return (dense.refresh()(ids).logits - model(ids).logits).abs().max()

    stored = {name: p.data.clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert gap() < 1e-4
    with torch.no_grad():
        before = dense.model(ids).logits
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.data.mul_(3)
    assert gap() < 1e-4 and (dense.model(ids).logits - before).abs().max() > 1e-2
    assert all(torch.equal(p.data, stored[name]) for name, p in model.named_parameters() if name in stored)
    assert not any(p.requires_grad for p in dense.model.parameters())


def test_both_kinds_of_weights_sample_the_same_answers(miniature):
    params = miniature(max_new_tokens=12)
    rows = select(params)["train"][:2] * 4
    sampled = []
    for weights in ("dense", "nf4"):
        trainer = start(miniature(rollout_weights=weights, max_new_tokens=12))
        assert bool(trainer.dense) == (weights == "dense")
        prompts = [trainer.processing_class(row["prompt"])["input_ids"] for row in rows]
        sampled.append(trainer.sample(prompts, [row["id"] for row in rows]))
    assert sampled[0] == sampled[1]
    assert len(set(map(tuple, sampled[0]))) > 2


# --- the sampler's policy is the policy ---


def half_policy(dtype, folder, quantised=True):
    """Weights of the spread of Qwen2.5-1.5B's (0.025) in 16 bits, LoRA of rank 32 and alpha 64, as new."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2", vocab_size=2048, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=1280, tie_word_embeddings=True, initializer_range=0.025, pad_token_id=PAD,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, quantization_config=nf4 if quantised else None)
    add_fused_lm_head(base, temperature=1.0, outputs=("log_probs", "entropy"))
    adapter = LoraConfig(r=32, lora_alpha=64, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, adapter).train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def trainers_logps(model, prompts, answers):
    width = max(map(len, prompts))
    rows = [[PAD] * (width - len(p)) + p + a for p, a in zip(prompts, answers, strict=True)]
    mask = [[0] * (width - len(p)) + [1] * len(p + a) for p, a in zip(prompts, answers, strict=True)]
    with as_in_training(model):
        return shared_prompt_scores(model, torch.tensor(rows), torch.tensor(mask), len(answers[0])).logps


def mismatch(model, sampled_from, prompts):
    """Mean |log ratio| of 16 tokens of each answer, and its largest ratio."""
    logps: list = []
    answers = rollout(sampled_from, prompts, range(len(prompts)), Sampling(16, ()), PAD, logps=logps)
    with torch.no_grad():
        apart = (torch.tensor(logps) - trainers_logps(model, prompts, answers)).abs()
    return float(apart.mean()), float(apart.max().exp())


def take_a_step(model, prompts):
    """One step of AdamW at learning rate 5e-5, with answers of random worth."""
    worth = torch.randn(len(prompts), 1, generator=torch.Generator().manual_seed(5))
    answers = rollout(model, prompts, range(len(prompts)), Sampling(16, ()), PAD)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-5)
    (-(trainers_logps(model, prompts, answers) * worth).mean()).backward()
    optimiser.step()


def merge(dense):
    """The copy as it would be with the adapter added to its 16-bit weights."""
    for layer, own in dense._layers:
        own.weight.data.copy_(own.weight.float() + layer.get_delta_weight("default").float())
        own.a.zero_()


def error_of_the_update(dense, stored):
    """Relative error of what the adapter adds to the outputs of the layers, mean over layers."""
    errors = []
    for (layer, own), base in zip(dense._layers, stored, strict=True):
        x = torch.randn(64, layer.in_features, generator=torch.Generator().manual_seed(6)).to(own.weight.dtype)
        wanted = x.float() @ layer.get_delta_weight("default").float().T
        beside = torch.nn.functional.linear(torch.nn.functional.linear(x, own.a), own.b).float() * own.scaling
        found = beside + x.float() @ (own.weight.float() - base).T
        errors.append(float((found - wanted).norm() / wanted.norm()))
    return sum(errors) / len(errors)


@pytest.mark.parametrize("dtype, bound", [(torch.bfloat16, 1e-3), (torch.float16, 3e-4)], ids=str)
def test_the_sampler_knows_the_first_update_that_a_merged_copy_loses(tmp_path, dtype, bound):
    model = half_policy(dtype, tmp_path)
    rng = np.random.default_rng(3)
    prompts = [rng.integers(5, 2000, size=n).tolist() for n in (20, 27, 33) for _ in range(4)]
    take_a_step(model, prompts)
    dense = DenseCopy(model)
    with torch.no_grad():
        stored = [own.weight.float().clone() for _, own in dense._layers]
        mean, largest = mismatch(model, dense.refresh(), prompts)
        assert mean < bound and 1 <= largest < 1.05
        assert error_of_the_update(dense, stored) < 0.01
        merge(dense)
        assert mismatch(model, dense.model, prompts)[0] > bound
        assert error_of_the_update(dense, stored) > (0.7 if dtype == torch.bfloat16 else 0.2)


@pytest.mark.parametrize("quantised", [True, False], ids=["nf4", "16 bits"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_dense_and_stored_weights_sample_the_same_answers_in_16_bits(tmp_path, dtype, quantised):
    model = half_policy(dtype, tmp_path, quantised)
    rng = np.random.default_rng(4)
    prompts = [rng.integers(5, 2000, size=n).tolist() for n in (9, 14) for _ in range(6)]
    for _ in range(2):
        take_a_step(model, prompts)
    logps: dict = {}
    answers = []
    for name, sampled_from in (("stored", model), ("dense", DenseCopy(model).model)):
        logps[name] = []
        answers.append(rollout(sampled_from, prompts, range(12), Sampling(10, ()), PAD, logps=logps[name]))
    assert answers[0] == answers[1] and logps["stored"] == logps["dense"]


def test_gradient_checkpointing_in_16_bits_computes_what_it_computed(tmp_path):
    model = half_policy(torch.bfloat16, tmp_path)
    rng = np.random.default_rng(5)
    prompts = [rng.integers(5, 2000, size=n).tolist() for n in (9, 14) for _ in range(4)]
    take_a_step(model, prompts)
    answers = rollout(model, prompts, range(8), Sampling(10, ()), PAD)
    found = []
    for _ in range(2):
        found.append(gradient(model, trainers_logps(model, prompts, answers).sum()))
        model.gradient_checkpointing_enable({"use_reentrant": False})
    assert (found[0] - found[1]).norm() / found[0].norm() < 0.02, "two roundings to bfloat16"


def test_the_log_probabilities_of_the_sampler_are_those_of_its_tokens(policy, prompts):
    model, _ = policy
    logps: list = []
    answers = rollout(model, prompts, range(5), Sampling(8, (3,), 0.7), PAD, logps=logps)
    for prompt, answer, said in zip(prompts, answers, logps, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1] / 0.7
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert torch.allclose(torch.tensor(said), expected, atol=1e-4)


@pytest.mark.parametrize("given", [{}, {"objective": "ppo", "beta": 0.1}, {"rollout_weights": "nf4"}], ids=str)
def test_a_run_logs_how_far_its_sampler_is_from_its_policy(miniature, monkeypatch, given):
    """In float32 and in bfloat16, in every Nth step alone."""
    from studylib.training import config, measure
    from studylib.training.train import train

    monkeypatch.setattr(measure, "MEASURE_EVERY", 2)
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 1e-3)):
        for module in (models, config):
            monkeypatch.setattr(module, "precision", lambda device, dtype=dtype: Precision(dtype, "as the test wants"))
        params = miniature(learning_rate=5e-5, seed=int(bound * 1e5), **given)
        train(start(params), params)
        lines = [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]
        assert ["sampler_mismatch" in line for line in lines] == [True, False, True, False]
        for line in lines[::2]:
            assert 0 <= line["sampler_mismatch"] < bound
            assert 1 <= line["sampler_largest_ratio"] < 1.05


def test_the_dense_copy_is_made_once_for_training_and_evaluation(miniature, monkeypatch):
    params = miniature()
    trainer = start(params)
    monkeypatch.setattr(dense, "DenseCopy", lambda policy: pytest.fail("made again"))
    assert sampler(params, trainer.model) is trainer.dense.model
    assert sampler(miniature(rollout_weights="nf4"), trainer.model) is trainer.model
    assert not any("dense" in name for name in trainer.model.state_dict())


def test_attention_is_torchs_own_in_float32(policy):
    assert isinstance(steady_attention(policy[0]), contextlib.nullcontext)
