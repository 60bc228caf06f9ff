"""The deliberate bugs, and the tests that must catch each of them."""

from typing import NamedTuple


class Bug(NamedTuple):
    """One wrong piece of text in one file.

    Attributes:
        name: Says what is wrong.
        file: Of the repository.
        old: What stands there, exactly once.
        new: What a tired programmer might have written.
        caught_by: pytest node ids; at least one of their tests must fail.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]


_ORACLE_OF_LOSS = "tests/test_loss.py::test_loss_parts_and_gradient_match_the_hand_written_oracle"
_EXTREMES = "tests/test_loss.py::test_extreme_numbers_leave_the_loss_and_its_gradient_finite"
_ORACLE_OF_ADAM = "tests/test_update.py::test_gradient_steps_match_adam_in_float64"
_KNOWN_VALUES = "tests/test_probes.py::test_the_value_function_finds_the_known_values_from_every_seed"

BUGS = (
    Bug(
        "a time limit zeroes the bootstrap",
        "ppo_jax/gae.py",
        "jnp.where(terminated, 0.0, next_values)",
        "jnp.where(done, 0.0, next_values)",
        ("tests/test_gae.py::test_truncation_cuts_the_trace_but_keeps_the_bootstrap",),
    ),
    Bug(
        "a time limit does not cut the trace",
        "ppo_jax/gae.py",
        "jnp.where(done, 0.0, 1.0)",
        "jnp.where(terminated, 0.0, 1.0)",
        ("tests/test_gae.py::test_nothing_leaks_from_one_episode_into_the_one_before",),
    ),
    Bug(
        "the trace is not discounted",
        "ppo_jax/gae.py",
        "decay=gamma * gae_lambda *",
        "decay=gae_lambda *",
        ("tests/test_gae.py::test_every_pattern_of_ends_over_six_steps_matches_the_definition",),
    ),
    Bug(
        "the entropy is penalized",
        "ppo_jax/loss.py",
        "- hyper.entropy_coefficient * info.entropy",
        "+ hyper.entropy_coefficient * info.entropy",
        ("tests/test_loss.py::test_the_loss_adds_the_value_error_and_subtracts_the_entropy",),
    ),
    Bug(
        "the smaller of the value errors",
        "ppo_jax/loss.py",
        "jnp.maximum((value - target) ** 2,",
        "jnp.minimum((value - target) ** 2,",
        ("tests/test_loss.py::test_the_value_error_is_the_larger_of_the_free_and_the_held_one",),
    ),
    Bug(
        "the larger of the surrogates",
        "ppo_jax/loss.py",
        "jnp.minimum(ratio * advantage,",
        "jnp.maximum(ratio * advantage,",
        ("tests/test_loss.py::test_the_objective_is_flat_past_its_bound_and_linear_before_it",),
    ),
    Bug(
        "epsilon bounds the log-ratio",
        "ppo_jax/loss.py",
        "jnp.clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon)",
        "jnp.exp(jnp.clip(jnp.log(ratio), -clip_epsilon, clip_epsilon))",
        ("tests/test_loss.py::test_the_objective_is_flat_past_its_bound_and_linear_before_it",),
    ),
    Bug(
        "the log-ratio is not clamped",
        "ppo_jax/loss.py",
        "jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)",
        "log_prob - old_log_prob",
        (_EXTREMES,),
    ),
    Bug(
        "targets do not saturate",
        "ppo_jax/loss.py",
        "_saturate(minibatch.target)",
        "minibatch.target",
        (_EXTREMES,),
    ),
    Bug(
        "advantages do not saturate",
        "ppo_jax/loss.py",
        "_saturate(minibatch.advantage)",
        "minibatch.advantage",
        (_EXTREMES,),
    ),
    Bug(
        "a single advantage is normalized away",
        "ppo_jax/loss.py",
        "if advantage.size == 1:",
        "if advantage.size == 0:",
        ("tests/test_loss.py::test_a_single_advantage_is_not_normalized",),
    ),
    Bug(
        "the deviation of a sample instead of a population",
        "ppo_jax/loss.py",
        "advantage.std()",
        "advantage.std(ddof=1)",
        (_ORACLE_OF_LOSS,),
    ),
    Bug(
        "the divergence by its noisy estimator",
        "ppo_jax/loss.py",
        "jnp.expm1(log_ratio) - log_ratio",
        "-log_ratio",
        ("tests/test_loss.py::test_the_estimated_divergence_is_never_negative_and_right_on_average",),
    ),
    Bug(
        "every epoch in the same order",
        "ppo_jax/update.py",
        "(jax.random.split(key, config.num_epochs))",
        "(jnp.broadcast_to(key, (config.num_epochs,)))",
        ("tests/test_update.py::test_the_order_differs_between_epochs_and_between_updates",),
    ),
    Bug(
        "samples are drawn with replacement",
        "ppo_jax/update.py",
        "jax.random.permutation(key, num_units)",
        "jax.random.randint(key, (num_units,), 0, num_units)",
        ("tests/test_update.py::test_every_sample_is_used_exactly_once_per_epoch",),
    ),
    Bug(
        "gradients are clipped one by one",
        "ppo_jax/update.py",
        "optax.clip_by_global_norm(",
        "optax.clip(",
        (_ORACLE_OF_ADAM,),
    ),
    Bug(
        "Adam's epsilon is its own default",
        "ppo_jax/update.py",
        "optax.scale_by_adam(eps=hyper.adam_epsilon)",
        "optax.scale_by_adam()",
        (_ORACLE_OF_ADAM,),
    ),
    Bug(
        "the learning rate is one update ahead",
        "ppo_jax/schedules.py",
        "optax.linear_schedule(1.0, 0.0, config.num_updates)(num_done)",
        "optax.linear_schedule(1.0, 0.0, config.num_updates)(num_done + 1)",
        ("tests/test_train.py::test_the_learning_rate_that_is_reported_falls_linearly_and_once_per_update",),
    ),
    Bug(
        "the log-probability of another action",
        "ppo_jax/rollout.py",
        "log_prob=policy.log_prob(action)",
        "log_prob=policy.log_prob(policy.mode())",
        (
            "tests/test_rollout.py"
            "::test_the_log_probability_is_the_policys_own_of_the_action_that_was_sampled",
        ),
    ),
    Bug(
        "the successor is the observation after the reset",
        "ppo_jax/rollout.py",
        "normalize_observation(statistics, time_step.final_observation)",
        "normalize_observation(statistics, time_step.observation)",
        (
            "tests/test_rollout.py"
            "::test_the_successor_differs_from_the_next_observation_exactly_where_an_episode_ended",
        ),
    ),
    Bug(
        "a time limit counts as termination",
        "ppo_jax/rollout.py",
        "terminated=time_step.terminated",
        "terminated=time_step.done",
        (_KNOWN_VALUES,),
    ),
    Bug(
        "no episode ever starts anew",
        "ppo_jax/rollout.py",
        "start=time_step.done",
        "start=jnp.zeros_like(time_step.done)",
        ("tests/test_rollout.py::test_an_episode_starts_at_the_first_step_of_all_and_after_every_end",),
    ),
    Bug(
        "the bootstrap values the state itself",
        "ppo_jax/train.py",
        "network.apply(params, memory, trajectory.final_observation, going_on)",
        "network.apply(params, memory, trajectory.observation, going_on)",
        (_KNOWN_VALUES,),
    ),
    Bug(
        "the value target is the advantage",
        "ppo_jax/train.py",
        "target=advantage + value",
        "target=advantage",
        (_KNOWN_VALUES,),
    ),
    Bug(
        "the policy's last layer starts as large as the value's",
        "ppo_jax/networks.py",
        "POLICY_GAIN, VALUE_GAIN = 0.01, 1.0",
        "POLICY_GAIN, VALUE_GAIN = 1.0, 1.0",
        ("tests/test_networks.py::test_the_first_policy_is_nearly_uniform",),
    ),
    Bug(
        "the final observation is replaced by the reset",
        "ppo_jax/envs/environment.py",
        "final_observation=transition.observation",
        "final_observation=jax.tree.map(choose, reset_observation, transition.observation)",
        (
            "tests/envs/test_environment.py"
            "::test_the_final_observation_is_the_successor_whether_or_not_the_episode_ended",
        ),
    ),
    Bug(
        "the time limit of gymnax is not asked for",
        "ppo_jax/envs/gymnax.py",
        "jnp.asarray(env.is_truncated(state, params), bool)",
        "jnp.zeros((), bool)",
        ("tests/envs/test_gymnax.py::test_step_500_truncates_and_does_not_terminate",),
    ),
    Bug(
        "the return goes on into the next episode",
        "ppo_jax/envs/episodes.py",
        "jnp.where(done, 0.0, ended.episode_return)",
        "ended.episode_return",
        ("tests/envs/test_episodes.py::test_returns_and_lengths_at_every_end_are_exactly_those_of_a_loop",),
    ),
    Bug(
        "every update writes the window from its first slot",
        "ppo_jax/envs/episodes.py",
        "(finished + rank - 1) % WINDOW",
        "(rank - 1) % WINDOW",
        ("tests/envs/test_episodes.py::test_the_oldest_episode_leaves_the_window_first",),
    ),
    Bug(
        "the window keeps the oldest episodes of an update",
        "ppo_jax/envs/episodes.py",
        "(rank > rank[-1] - WINDOW)",
        "(rank <= WINDOW)",
        ("tests/envs/test_episodes.py::test_an_update_may_end_a_hundred_episodes_and_more_again_and_again",),
    ),
    Bug(
        "the key never advances",
        "ppo_jax/train.py",
        "collector=collector, key=key,",
        "collector=collector, key=state.key,",
        ("tests/test_train.py::test_every_update_leaves_another_key_for_the_next",),
    ),
    Bug(
        "the variance of rounding counts as variance",
        "ppo_jax/train.py",
        "variance > rounding",
        "variance > 0",
        ("tests/test_train.py::test_rounding_is_not_taken_for_variance",),
    ),
    Bug(
        "an evaluation sees observations as they are",
        "ppo_jax/evaluate.py",
        "normalize_observation(statistics, progress.observation)",
        "progress.observation",
        ("tests/test_evaluate.py::test_observations_are_normalized_by_the_statistics_of_the_training",),
    ),
    Bug(
        "a sweep of the caller's own network trains another",
        "ppo_jax/sweep.py",
        "train(config, hyper, key, environment, make_network)",
        "train(config, hyper, key, environment)",
        ("tests/test_sweep.py::test_a_caller_may_sweep_an_environment_and_a_network_of_their_own",),
    ),
    Bug(
        "a policy is saved without the statistics of its observations",
        "ppo_jax/runs/evaluation.py",
        "statistics=state.collector.statistics)",
        "statistics=None)",
        ("tests/runs/test_policy.py::test_the_statistics_are_a_part_of_what_is_saved",),
    ),
    Bug(
        "a restored policy normalizes by the first statistics",
        "ppo_jax/runs/evaluation.py",
        "[given[name] for name in expected]",
        "[given[name] * ('mean' not in name) for name in expected]",
        (
            "tests/runs/test_policy.py"
            "::test_a_policy_with_normalized_observations_acts_in_a_new_process_as_in_its_training",
        ),
    ),
    Bug(
        "states without a legal action go unnoticed",
        "ppo_jax/runs/journal.py",
        'if record["dead_ends"]:',
        "if False:",
        ("tests/runs/test_journal.py::test_states_without_a_legal_action_are_an_error_of_the_environment",),
    ),
    Bug(
        "a minibatch may cut the sequences of a memory",
        "ppo_jax/config.py",
        "if not config.memory_size else",
        "if True else",
        ("tests/test_config.py::test_with_a_memory_minibatches_must_divide_the_environments",),
    ),
)
