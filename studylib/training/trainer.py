"""GRPO on scenarios: TRL's trainer with the study's sampling, reading, micro-batches and objectives.

The only file that touches TRL beyond its public names.
"""

import contextlib
import logging
import os

import torch

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # our sampling goes through its experimental hook, `rollout_func`

from trl import DPOTrainer, GRPOTrainer

from studylib import processes
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy.dense import dense_copy, use_dense_copy
from studylib.policy.products import suit_cpu
from studylib.policy.scoring import Scores, scores_in_passes, shared_prompt_scores, why_not
from studylib.randomness import torch_seed
from studylib.text.readable import shares
from studylib.text.tokens import answer_texts, prompt_tokens
from studylib.training import kinds, mixing, sampling
from studylib.training.batches import MEAN_OVER_ROWS, SUM_OVER_STEP, micro_batches, with_prompts
from studylib.training.config import LinearRate, grpo_config
from studylib.training.heads import WithHeads, make_heads
from studylib.training.log import StageTimes
from studylib.training.measure import measure, problems
from studylib.training.supported import require_supported
from studylib.training.together import Update

logger = logging.getLogger(__name__)

SAMPLED = "sampling_per_token_logps"  # TRL's name for the log-probabilities that the sampler drew with
STAGES = {  # stage of a step -> TRL's method that does it; score: the forward passes of training
    "generate": "_generate",
    "reward": "_calculate_rewards",
    "score": "_get_per_token_logps_and_entropies",
}


class PairTrainer(LinearRate, DPOTrainer):
    """TRL's DPO on pairs of token ids as they were sampled: a chat template could write an answer in another way."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def count_tokens_from(self, n: int) -> None:
        """TRL counts trained tokens from 0 after a resume."""
        self._total_train_tokens = n


class StudyTrainer(LinearRate, WithHeads, GRPOTrainer):
    """TRL's trainer with these differences from GRPO as published (arXiv 2402.03300):

    1. One update per batch of answers by default (`updates_per_batch`), so the ratio is 1 and its clip does not bind.
    2. The KL term is off unless `beta` > 0; the reference is the policy with its adapter switched off. The term is
       corrected by the importance ratio, without which its optimum is another (`instruments/known_target.py`).
    3. LoRA weights stay in fp32: TRL 1.16 casts them to bf16 on every quantised model, where an update smaller than
       1/256 of a weight is lost, and where fp16 scaling on a T4 fails.
    4. Scenarios come in the order of the selection, each once: TRL's own shuffle is off.
    5. What a policy wrote is read as evaluation reads it (`text/tokens.py`); TRL drops special tokens and does not know
       of tags that a template opens in the prompt.
    6. The first step has a learning rate above 0.
    7. An answer that one of several rewards with a weight could not score counts nothing; TRL sums the others.
    8. Evaluation during training (`eval_dataset`) keeps the layers in train() mode (`models.py` says why), has random
       numbers of its own, and neither draws refills nor weighs rewards by their gradients.
    9. To TRL every one of several processes is alone with the whole step. Its sampling and its micro-batches are dealt
       to them (`processes.py`), and only gradients are summed: TRL's own split has other statistics and another sum.

    Other objectives replace the advantages, add a head or compute their own loss (`objectives.py`, `kinds.py`). With
    `engine: fast` every prompt is encoded once for all its answers, in sampling and in training, and answers whose
    advantage is 0 are left out of the micro-batches; the gradient is the same (tests/training/test_fast_path.py). With
    `engine: trl` all of that is TRL's own.

    At the beginning of a step `_prepare_inputs` has its answers sampled and scored (`_generate_and_score_completions`),
    and at every call it hands out a micro-batch of them, which `compute_loss` takes through the policy.
    """

    def __init__(self, *args, params: RunParams, scenario_ids: dict[str, str], **kwargs):
        reason = why_not(kwargs["model"]) if params.engine == "fast" else "engine = 'trl'"
        require_supported(grpo_config(params), params, not reason, kwargs)
        if params.engine == "fast" and reason:
            logger.warning("prompts are not shared in training, because %s", reason)
        self.fast, self.params, self.scenario_ids, self.dense = not reason, params, scenario_ids, None
        self.objective, self.attempt, self.generated = OBJECTIVES.of(params.objective), 0, 0
        self.update = Update()
        self.problems = shares([])  # of reading the last step's answers
        self.drawn, self.reasons = None, []  # of the sampler: log-probabilities; of an answer: tokens not trained on
        self.more = mixing.More() if params.combination == "more" else None
        if reason and self.objective.kind != "policy":
            raise ValueError(f"objective {params.objective!r} needs shared prompts: {reason}")
        if reason:
            processes.require_one(f"training without shared prompts ({reason})")
        super().__init__(*args, rollout_func=_rollout if self.fast else None, **kwargs)
        if not self._by_row():
            processes.require_one("a loss with terms of a micro-batch as a whole")
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        size = self.model.config.get_text_config().hidden_size
        with torch_seed(params.seed, "training/heads"):
            self.heads = make_heads(self.objective.heads, size, self.model.device)
        if self.fast and params.device == "cpu":
            suit_cpu(params, self.model)
        if self.fast and use_dense_copy(params, self.model):
            self.dense = dense_copy(self.model)

    # --- answers ---

    def _tokenize_prompts(self, prompts):
        if _chats(prompts):
            return prompt_tokens(self.processing_class, prompts), None, {}
        return super()._tokenize_prompts(prompts)

    def _generate(self, prompts):
        """TRL's; the text of an answer is what `answer_texts` reads."""
        prompt_ids, answers, tools, texts, *rest = super()._generate(prompts)
        if not self.tools:
            texts = answer_texts(self.processing_class, prompt_ids, answers, self.eos_token_ids)
            texts = [[{"role": "assistant", "content": text}] for text in texts] if _chats(prompts) else texts
        return prompt_ids, answers, tools, texts, *rest

    def sample(self, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
        """One answer to each prompt (token ids); ids: the scenario of each."""
        return sampling.sample(self, prompts, ids)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """TRL's (B, columns), with the mixture; keeps the total for objectives that take rewards and not advantages."""
        theirs = super()._calculate_rewards
        per_reward = processes.of_first(theirs, inputs, prompts, completions, completion_ids_list)
        per_reward = mixing.with_mixture(per_reward, self.params, self.group_size)
        if self.model.training:
            self.problems = problems(self, inputs, completions, completion_ids_list)
        weights = self.reward_weights.to(per_reward.device)
        self.per_reward = per_reward[:, weights != 0]
        self.last_rewards = (per_reward * weights).nansum(1).masked_fill(per_reward.isnan().all(1), torch.nan)
        return per_reward

    def answered(self, inputs) -> dict:
        """TRL's tensors of a step's answers, their total reward and each reward that is trained on."""
        answers = super()._generate_and_score_completions(inputs)
        has_tokens = answers["completion_mask"].any(1)  # else it was cut off, and those are masked as a whole
        return answers | {
            "advantages": answers["advantages"] * has_tokens,
            "rewards": self.last_rewards,
            "per_reward": self.per_reward,
            "scored": (has_tokens & ~self.last_rewards.isnan()).float(),
            "reasons": torch.tensor(self.reasons or [0] * len(has_tokens), device=has_tokens.device),
        }

    @contextlib.contextmanager
    def unlogged(self):
        """Answers sampled here are in no mean of the step's log but the number of tokens."""
        metrics = self._metrics["train"]
        kept, problems = {name: list(values) for name, values in metrics.items()}, self.problems
        yield
        tokens = metrics["num_tokens"]
        metrics.clear()
        metrics.update(kept | {"num_tokens": tokens})
        self.problems = problems

    def _generate_and_score_completions(self, inputs):
        """TRL's, with dynamic sampling, and with what objective and combination make of the rewards."""
        self.generated, self.attempt = 0, 0
        answers, training = self.answered(inputs), self.model.training
        if training:
            answers = sampling.refilled(self, answers)
        self.log_value("generated_tokens", self.generated)
        per_reward = answers.pop("per_reward")
        if self.fast:
            if training:
                measure(self, answers, answers.pop(SAMPLED, None))
            answers |= kinds.worth(self, answers)
        if self.more and training:
            answers["advantages"] = self.more.advantages(self, answers, per_reward)
        return answers

    @torch.no_grad()
    def score(self, answers: dict) -> Scores:
        """Scores of a step's answers under the policy as it is, a micro-batch at a time."""
        ids, mask = with_prompts(answers)
        shape = answers["completion_ids"].shape[1], self.params.rows_per_pass, self.num_generations
        with self.accelerator.autocast():
            return scores_in_passes(self.model, ids, mask, *shape)

    def measured(self) -> dict[str, float]:
        """Entropy and KL of the policy as it is, on fresh answers: for DPO, which samples none while it trains."""
        scenarios = range(min(len(self.train_dataset), self.params.answers_per_step // self.num_generations))
        rows = [self.train_dataset[i] for i in scenarios for _ in range(self.num_generations)]
        answers = super()._generate_and_score_completions(rows)
        measure(self, answers, answers.pop(SAMPLED, None))
        metrics = self._metrics[self.mode]
        values = {name: metrics[name][-1] for name in ("policy_entropy", "kl_to_reference")}
        metrics.clear()
        return values

    # --- micro-batches and losses ---

    def _prepare_inputs(self, generation_batch):
        """TRL's, except that micro-batches hold whole groups of like length and nothing that cannot count.

        A loss with terms of a micro-batch as a whole gets TRL's own: mean or quantile of entropy, or of all its tokens.
        """
        if not self.fast or not self.model.training or not self._by_row():
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            answers = self._generate_and_score_completions(generation_batch)
            # An answer of advantage 0 has no gradient in a policy loss; it has one in a KL term, a critic or a flow.
            skip = self.objective.kind == "policy" and self.beta == 0
            updates = self.params.updates_per_batch
            self._buffered_inputs = micro_batches(answers, steps, self.args.loss_type, skip, updates)
        return self._buffered_inputs[self._step % steps]

    def _by_row(self) -> bool:
        by_row = self.args.loss_type in MEAN_OVER_ROWS + SUM_OVER_STEP and self.top_entropy_quantile == 1
        return by_row and not self._entropy_bonus_enabled

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        trained = (*self.model.parameters(), *self.heads.parameters())
        return self.update.loss_to_report(loss, trained, last=self.accelerator.sync_gradients)

    def prediction_step(self, model, *args, **kwargs):
        """TRL's, with the model in evaluation by name and its layers in train() mode (`models.py` says why)."""
        self.model.train()
        self.model.training = False
        return super().prediction_step(model, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if not self.fast:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if kwargs.get("batch_size"):  # TRL asks for reference and old policy of all answers, in parts of this size
            size, g = self.params.micro_batch, self.num_generations
            with torch.no_grad(), self.accelerator.autocast():
                scores = scores_in_passes(model, input_ids, attention_mask, logits_to_keep, size, g)
            return scores.logps, scores.entropy, None
        with self.accelerator.autocast():
            self.scores = shared_prompt_scores(model, input_ids, attention_mask, logits_to_keep)
        return self.scores.logps, self.scores.entropy, None

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.model.training and not processes.mine(self._step):
            return torch.zeros((), device=self.model.device, requires_grad=True)
        if self.objective.kind == "flow":
            width = inputs["completion_mask"].shape[1]
            logps, entropy, _ = self._get_per_token_logps_and_entropies(model, *with_prompts(inputs), width)
            return kinds.per_answer(self, kinds.flow_loss(self, inputs, logps, entropy), inputs)
        # Where the KL is in the reward (tokens, ppo), it must not be in TRL's loss as well.
        kl_in_loss, self.beta = self.beta, self.beta if self.objective.kind == "policy" else 0.0
        try:
            loss = super().compute_loss(model, inputs, *args, **kwargs) * inputs.get("share", 1.0)
        finally:
            self.beta = kl_in_loss
        if self.objective.kind == "ppo":
            loss = loss + kinds.per_answer(self, kinds.critic_loss(self, inputs), inputs)
        return loss

    # --- log ---

    def log(self, *args, **kwargs) -> None:
        processes.merged(self._metrics[self.mode])
        super().log(*args, **kwargs)

    def log_value(self, name: str, value: torch.Tensor | float) -> None:
        """A value of this step for TRL's log, which writes the mean of a step's values."""
        self._metrics[self.mode][name].append(float(torch.as_tensor(value).detach()))

    @property
    def mode(self) -> str:
        """Name of TRL's metrics."""
        return "train" if self.model.training else "eval"

    @property
    def group_size(self) -> int:
        """Answers to each prompt."""
        return self.num_generations if self.model.training else self.num_generations_eval

    def time_stages(self) -> list[dict]:
        """A list that gets the seconds of every step from now on: as a whole and by stage. For benchmarks."""
        log: list[dict] = []
        self.add_callback(StageTimes(self, STAGES, log))
        return log


def _chats(prompts: list) -> bool:
    return isinstance(prompts[0], list)


def _rollout(prompts: list, trainer: StudyTrainer) -> dict:
    """TRL's hook for one's own sampling. prompts: chats or texts, each G times; one of no scenario is its own name."""
    ids = trainer._tokenize_prompts(prompts)[0]
    asked = [chat[-1]["content"] for chat in prompts] if _chats(prompts) else prompts
    answers = trainer.sample(ids, [trainer.scenario_ids.get(text, text) for text in asked])
    return {"prompt_ids": ids, "completion_ids": answers, "logprobs": trainer.drawn or None}
