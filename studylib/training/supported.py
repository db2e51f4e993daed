"""What `StudyTrainer` does with each setting of TRL's `GRPOConfig`: it is honoured, fixed by the run's parameters, or
refused in one sentence before the model is touched. No setting is accepted and then ignored.

The lists below hold every field that TRL adds to transformers' TrainingArguments; a test notices when TRL adds another.
"""

import dataclasses

from trl import GRPOConfig

from studylib.names import OBJECTIVES
from studylib.params import RunParams

HONOURED = [  # by TRL's own code, or by the fast engine as well
    "trust_remote_code", "router_aux_loss_coef", "disable_dropout", "num_generations_eval", "shuffle_dataset",
    "pad_to_multiple_of", "log_completions", "log_multimodal", "num_completions_to_print", "log_unique_prompts",
    "log_completions_hub_repo",
]  # fmt: skip
OF_THE_PARAMETERS = [  # as `grpo_config(params)` has them: losses are scaled and answers sampled by the parameters
    "num_generations", "max_completion_length", "steps_per_generation", "generation_batch_size", "temperature", "beta",
    "reward_weights", "multi_objective_aggregation", "per_device_train_batch_size", "gradient_accumulation_steps",
    "seed",
]  # fmt: skip
OF_THE_LOSS = [  # honoured by TRL's losses; objectives with a loss of their own do not read them
    "loss_type", "epsilon", "epsilon_high", "delta", "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos",
    "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg", "importance_sampling_level", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta",
    "entropy_target", "off_policy_mask_threshold",
]  # fmt: skip
OF_THE_ADVANTAGES = ["scale_rewards"]  # honoured where the advantages are TRL's
OF_THE_STEP = ["num_iterations", "mask_truncated_completions", "use_bias_correction_kl"]  # not of DPO on pairs
OF_PLAIN_TRL = [  # of TRL's sampling, which the fast engine replaces
    "cast_lm_head_to_fp32", "top_p", "top_k", "min_p", "generation_kwargs", "repetition_penalty",
    "cache_implementation", "use_vllm", "vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode",
    "vllm_structured_outputs_regex", "vllm_server_base_url", "vllm_server_host", "vllm_server_port",
    "vllm_server_timeout", "vllm_group_port", "vllm_gpu_memory_utilization", "vllm_max_model_length",
    "vllm_tensor_parallel_size", "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap",
    "use_transformers_continuous_batching", "transformers_continuous_batching_config", "use_transformers_paged",
    "max_tool_calling_iterations",
]  # fmt: skip
REFUSED = {  # whatever the engine -> why
    "model_init_kwargs": "the model is given, not loaded by TRL",
    "ds3_gather_for_generation": "DeepSpeed is not supported",
    "chat_template_kwargs": "prompts are written by the study's own function, in training as in evaluation",
    "sync_ref_model": "the reference is the policy with its adapter switched off",
    "ref_model_mixup_alpha": "the reference is the policy with its adapter switched off",
    "ref_model_sync_steps": "the reference is the policy with its adapter switched off",
}
ARGUMENTS = {  # of the trainer itself -> why they are refused
    "rollout_func": "the study samples by its own function",
    "environment_factory": "the study has scenarios and no environments",
}
PICTURES = {"image", "images"}  # columns of a data set that TRL shows to a model

_DEFAULT = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}


def require_supported(expected: GRPOConfig, params: RunParams, fast: bool, given: dict) -> None:
    """Refuse what would be ignored or scaled wrongly. Raises ValueError.

    expected: what `params` say in TRL's words; given: the keyword arguments of the trainer; fast: whether prompts are
    shared (engine 'fast' and a model that allows it).
    """
    args = given.get("args")
    if not isinstance(args, GRPOConfig):
        raise ValueError(f"argument args = {args!r} is not allowed: it must be a GRPOConfig, as `grpo_config` makes it")
    if args.n_gpu > 1:
        raise ValueError(f"{args.n_gpu} visible GPUs are not supported: set CUDA_VISIBLE_DEVICES to one of them")
    _require_arguments(given, fast)
    _require_rewards(given, expected)
    for name in _as_expected(params):
        if not _same(name, args, expected, given):
            wanted = getattr(expected, name)
            _refuse(name, args, f"the run's parameters say {wanted!r}" + _read_by(name, params))
    for name in (*REFUSED, *(OF_PLAIN_TRL if fast else ())):
        if getattr(args, name) != _DEFAULT[name]:
            _refuse(name, args, REFUSED.get(name, "engine 'fast' does not read it") + f"; leave {_DEFAULT[name]!r}")


def _refuse(name: str, args: GRPOConfig, reason: str) -> None:
    raise ValueError(f"GRPOConfig setting {name} = {getattr(args, name)!r} is not allowed: {reason}")


def _as_expected(params: RunParams) -> list[str]:
    """Settings that must be as the parameters say."""
    objective = OBJECTIVES[params.objective]
    if objective.kind == "dpo":
        return OF_THE_PARAMETERS + OF_THE_LOSS + OF_THE_ADVANTAGES + OF_THE_STEP
    own_advantages = objective.advantages or objective.kind in ("tokens", "ppo", "dpg") or params.combination == "more"
    return OF_THE_PARAMETERS + OF_THE_LOSS * (objective.kind == "flow") + OF_THE_ADVANTAGES * bool(own_advantages)


def _read_by(name: str, params: RunParams) -> str:
    by = f"combination {params.combination!r}" if params.combination == "more" else f"objective {params.objective!r}"
    return "" if name in OF_THE_PARAMETERS else f", and {by} reads no other"


def _same(name: str, args: GRPOConfig, expected: GRPOConfig, given: dict) -> bool:
    value, wanted = getattr(args, name), getattr(expected, name)
    if name == "reward_weights":  # TRL takes none as ones
        value, wanted = (list(weights or [1.0] * len(_listed(given["reward_funcs"]))) for weights in (value, wanted))
    return value == wanted


def _require_arguments(given: dict, fast: bool) -> None:
    reasons = ARGUMENTS | ({"tools": "engine 'fast' does not call tools"} if fast else {})
    for name, reason in reasons.items():
        if given.get(name):
            raise ValueError(f"argument {name} = {given[name]!r} is not allowed: {reason}")
    if hasattr(given.get("processing_class"), "tokenizer"):
        kind = type(given["processing_class"]).__name__
        raise ValueError(f"argument processing_class of type {kind} is not allowed: models are asked in text alone")
    for dataset in ("train_dataset", "eval_dataset"):
        views = PICTURES & set(getattr(given.get(dataset), "column_names", None) or ())
        if views:
            raise ValueError(f"{dataset} has the column {min(views)!r}, which is not allowed: models are asked in text")


def _require_rewards(given: dict, expected: GRPOConfig) -> None:
    functions, wanted = len(_listed(given.get("reward_funcs"))), len(expected.reward_weights)
    if functions != wanted:
        raise ValueError(f"{functions} reward_funcs are not allowed: the run's parameters have weights for {wanted}")


def _listed(rewards) -> list:
    return rewards if isinstance(rewards, list) else [] if rewards is None else [rewards]
