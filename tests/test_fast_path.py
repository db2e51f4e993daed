"""The fast path against plain TRL: same log-probabilities, same gradients, same distribution of answers."""

import itertools

import numpy as np
import pytest
import torch
from peft import get_peft_model
from scipy import stats
from test_training import start
from trl.trainer.utils import add_fused_lm_head

from studylib.scenarios.selection import select
from studylib.training.batches import micro_batches
from studylib.training.models import load_base, lora
from studylib.training.rollout import DenseCopy, Sampling, draw, rollout, uniforms
from studylib.training.scoring import shared_prompt_scores, why_not

PAD, C = 0, 12


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


def batch(padded: bool, groups=(4, 4, 4), shuffled=True):
    """(input_ids, attention_mask): prompts of three lengths, groups of the given sizes in any order."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for i, size in enumerate(groups):
        length = 20 - 5 * i * padded
        prompt = torch.randint(10, 1000, (length,), generator=generator)
        for _ in range(size):
            answer_length = int(torch.randint(3, C + 1, (1,), generator=generator)) if padded else C
            answer = torch.randint(10, 1000, (answer_length,), generator=generator)
            ids, mask = torch.full((20 + C,), PAD), torch.zeros(20 + C, dtype=torch.long)
            ids[20 - length : 20 + answer_length] = torch.cat([prompt, answer])
            mask[20 - length : 20 + answer_length] = 1
            rows.append((ids, mask))
    order = torch.randperm(len(rows), generator=generator).tolist() if shuffled else range(len(rows))
    return tuple(torch.stack(column) for column in zip(*[rows[i] for i in order], strict=True))


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
