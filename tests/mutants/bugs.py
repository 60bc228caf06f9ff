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


_ORACLE_OF_LOSS = "tests/algorithm/test_loss.py::test_loss_parts_and_gradient_match_the_hand_written_oracle"
_EXTREMES = "tests/algorithm/test_loss.py::test_extreme_numbers_leave_the_loss_and_its_gradient_finite"
_ORACLE_OF_ADAM = "tests/algorithm/test_update.py::test_gradient_steps_match_adam_in_float64"
_WARM = "tests/algorithm/test_warm_start.py"
_TEACHER = "tests/algorithm/test_teacher.py"
_KNOWN_VALUES = (
    "tests/learning/test_probes.py::test_the_value_function_finds_the_known_values_from_every_seed"
)

BUGS = (
    Bug(
        "a simulator shows the first observation of the next episode as the last of this one",
        "ppo_jax/envs/gymnasium.py",
        """            final[ended] = _as_floats(self._observed, np.stack(list(info["final_obs"][ended])))
""",
        "",
        (
            "tests/host/programs/test_simulators.py::test_a_time_limit_truncates_and_the_last_observation_is_kept",
        ),
    ),
    Bug(
        "the time limit of a simulator ends the task",
        "ppo_jax/envs/gymnasium.py",
        "            terminated=terminated,\n",
        "            terminated=ended,\n",
        (
            "tests/host/programs/test_simulators.py::test_a_time_limit_truncates_and_the_last_observation_is_kept",
        ),
    ),
    Bug(
        "a rollout of simulators goes on from the observation before the step",
        "ppo_jax/host/programs/simulators.py",
        "                observation=step.observation,\n",
        "                observation=collector.observation,\n",
        ("tests/host/programs/test_simulators.py::test_the_host_takes_the_steps_of_the_compiled_program",),
    ),
    Bug(
        "statistics of observations are forgotten between the steps of simulators",
        "ppo_jax/host/programs/simulators.py",
        "                statistics=statistics,\n",
        "",
        ("tests/host/programs/test_simulators.py::test_the_host_takes_the_steps_of_the_compiled_program",),
    ),
    Bug(
        "of a rollout of simulators, only the last decision is kept",
        "ppo_jax/host/programs/simulators.py",
        "rows.at[t].set(row)",
        "rows.at[0].set(row)",
        ("tests/host/programs/test_simulators.py::test_the_host_takes_the_steps_of_the_compiled_program",),
    ),
    Bug(
        "a resumed run in simulators counts on with the episodes that it gave up",
        "ppo_jax/host/programs/simulators.py",
        "            episodes=before.episodes._replace(**running),\n",
        "",
        (
            "tests/host/programs/test_simulators.py::test_the_same_seed_gives_the_same_bits_and_a_resumed_run_begins_new_episodes",
        ),
    ),
    Bug(
        "an evaluation in simulators counts what comes after the end",
        "ppo_jax/host/programs/simulators.py",
        "returns += running * step.reward",
        "returns += step.reward",
        ("tests/host/programs/test_simulators.py::test_an_evaluation_plays_each_episode_to_its_end",),
    ),
    Bug(
        "a chunk is looked at while the next one runs",
        "ppo_jax/host/programs/chunks.py",
        "is_newest = running.state is self.state",
        "is_newest = True",
        (
            "tests/host/programs/test_chunks.py::test_a_chunk_that_runs_while_the_one_before_is_fetched_gives_the_same_bits",
        ),
    ),
    Bug(
        "a sweep saves its states before the metrics of the running chunk are taken",
        "ppo_jax/host/training/block.py",
        """        \"\"\"Saves the states of all members, once the metrics before them are on the disk.\"\"\"
        self._take_chunk()
""",
        """        \"\"\"Saves the states of all members, once the metrics before them are on the disk.\"\"\"
""",
        ("tests/host/test_sweeps.py::test_a_checkpoint_is_saved_after_the_metrics_of_its_updates",),
    ),
    Bug(
        "a time limit that is set around an environment comes a step late",
        "ppo_jax/envs/limits.py",
        "elapsed >= limit",
        "elapsed > limit",
        (
            "tests/envs/test_limits.py::test_an_episode_ends_with_the_task_or_at_the_limit_whichever_comes_first",
        ),
    ),
    Bug(
        "a time limit that is set around an environment hides the end of the task",
        "ppo_jax/envs/limits.py",
        "truncated = transition.truncated | (elapsed >= limit)",
        "truncated = elapsed >= limit",
        ("tests/envs/test_limits.py::test_a_truncation_of_the_environment_itself_is_kept",),
    ),
    Bug(
        "a gradient is that of one device",
        "ppo_jax/algorithm/update.py",
        "gradient, info = shards.mean((gradient, info))",
        "_, info = shards.mean((gradient, info))",
        ("tests/scale/test_sharding.py::test_eight_devices_learn_what_one_learns",),
    ),
    Bug(
        "each device standardizes advantages by itself",
        "ppo_jax/algorithm/normalization.py",
        "mean, variance = shards.pool_moments(advantage.mean(), advantage.var())",
        "mean, variance = advantage.mean(), advantage.var()",
        (
            "tests/scale/test_sharding.py::test_a_minibatch_is_standardized_by_the_statistics_of_all_its_samples",
        ),
    ),
    Bug(
        "the variance between devices is forgotten",
        "ppo_jax/shards.py",
        "variances.mean(axis=0) + shifted.var(axis=0)",
        "variances.mean(axis=0)",
        ("tests/scale/test_sharding.py::test_moments_of_all_shards_are_those_of_all_samples",),
    ),
    Bug(
        "all devices take the random numbers of the first environments",
        "ppo_jax/shards.py",
        "jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * size, size, axis)",
        "jax.lax.dynamic_slice_in_dim(x, 0 * size, size, axis)",
        ("tests/scale/test_sharding.py::test_eight_devices_learn_what_one_learns",),
    ),
    Bug(
        "episodes are numbered by device instead of by step",
        "ppo_jax/shards.py",
        "through = jnp.cumsum(sums.reshape(-1)).reshape(sums.shape)",
        "through = jnp.cumsum(sums.T.reshape(-1)).reshape(sums.T.shape).T",
        ("tests/scale/test_sharding.py::test_entries_are_numbered_by_step_and_then_by_environment",),
    ),
    Bug(
        "a minibatch comes from one group of environments",
        "ppo_jax/algorithm/update.py",
        "return jnp.swapaxes(index, 0, 1).reshape(config.num_minibatches, -1)",
        "return index.reshape(config.num_minibatches, -1)",
        (
            "tests/scale/test_sharding.py::test_a_group_is_shuffled_within_itself_whatever_the_number_of_devices",
        ),
    ),
    Bug(
        "a signal to a process that follows is not passed on",
        "ppo_jax/host/training/loop.py",
        "        self.stop.hear_of(self.training.crew.signal())\n",
        "",
        (
            "tests/survival/test_processes.py::test_a_signal_to_one_stops_both_at_the_same_update_and_eight_devices_go_on",
        ),
    ),
    Bug(
        "a sum of 64 bits forgets its carry",
        "ppo_jax/count.py",
        "high=self.high + jnp.uint32(high) + carry",
        "high=self.high + jnp.uint32(high)",
        (
            "tests/test_count.py::test_sums_are_those_of_python",
            "tests/algorithm/test_long_runs.py::test_steps_are_counted_exactly_across_the_limits_of_32_bits",
        ),
    ),
    Bug(
        "a product of 64 bits loses what its middle halves carry",
        "ppo_jax/count.py",
        " + (middle >> HALF)",
        "",
        ("tests/test_count.py::test_products_are_those_of_python",),
    ),
    Bug(
        "the number of samples wraps",
        "ppo_jax/count.py",
        "jnp.where(total < count, most, total)",
        "total",
        (
            "tests/test_count.py::test_a_count_that_has_reached_its_limit_stays_there",
            "tests/algorithm/test_long_runs.py"
            "::test_statistics_of_billions_of_samples_follow_those_that_come",
        ),
    ),
    Bug(
        "the number of finished episodes wraps",
        "ppo_jax/algorithm/episodes.py",
        "jnp.where(state.finished < WINDOW, state.finished, WINDOW + state.finished % WINDOW)",
        "state.finished",
        ("tests/algorithm/test_long_runs.py::test_the_window_of_episodes_goes_on_from_any_number_of_them",),
    ),
    Bug(
        "checkpoints are sorted by their names",
        "ppo_jax/host/runs/checkpoints/directories.py",
        "key=lambda entry: int(entry.name), ",
        "",
        (
            "tests/host/runs/checkpoints/test_store.py"
            "::test_checkpoints_are_in_the_order_of_their_updates_beyond_ten_digits_too",
        ),
    ),
    Bug(
        "counts of an earlier version are damage",
        "ppo_jax/host/runs/checkpoints/arrays.py",
        "            wanted[name] = found[name]",
        "            pass",
        (
            "tests/host/runs/checkpoints/test_arrays.py"
            "::test_counts_that_an_earlier_version_wrote_are_read_but_no_other_arrays_that_look_like_them",
        ),
    ),
    Bug(
        "an environment is made with the mesh of the caller",
        "ppo_jax/envs/concrete.py",
        "mesh.update_axis_types(types)",
        "mesh",
        ("tests/algorithm/test_modes.py::test_vmap_and_shard_map_train_while_a_mesh_is_set",),
    ),
    Bug(
        "a time limit zeroes the bootstrap",
        "ppo_jax/algorithm/gae.py",
        "jnp.where(terminated, 0.0, next_values)",
        "jnp.where(done, 0.0, next_values)",
        ("tests/algorithm/test_gae.py::test_truncation_cuts_the_trace_but_keeps_the_bootstrap",),
    ),
    Bug(
        "a time limit does not cut the trace",
        "ppo_jax/algorithm/gae.py",
        "(~done).astype(delta.dtype)",
        "(~terminated).astype(delta.dtype)",
        ("tests/algorithm/test_gae.py::test_nothing_leaks_from_one_episode_into_the_one_before",),
    ),
    Bug(
        "the trace is not discounted",
        "ppo_jax/algorithm/gae.py",
        "decay = gamma * gae_lambda *",
        "decay = gae_lambda *",
        ("tests/algorithm/test_gae.py::test_every_pattern_of_ends_over_six_steps_matches_the_definition",),
    ),
    Bug(
        "the entropy is penalized",
        "ppo_jax/algorithm/loss.py",
        "- hyper.entropy_coefficient * info.entropy",
        "+ hyper.entropy_coefficient * info.entropy",
        ("tests/algorithm/test_loss.py::test_the_loss_adds_the_value_error_and_subtracts_the_entropy",),
    ),
    Bug(
        "the smaller of the value errors",
        "ppo_jax/algorithm/loss.py",
        "jnp.maximum((value - target) ** 2,",
        "jnp.minimum((value - target) ** 2,",
        (
            "tests/algorithm/test_loss.py::test_the_value_error_is_the_larger_of_the_plain_and_the_clipped_one",
        ),
    ),
    Bug(
        "the larger of the surrogates",
        "ppo_jax/algorithm/loss.py",
        "jnp.minimum(ratio * advantage,",
        "jnp.maximum(ratio * advantage,",
        ("tests/algorithm/test_loss.py::test_the_objective_is_flat_past_its_bound_and_linear_before_it",),
    ),
    Bug(
        "epsilon bounds the log-ratio",
        "ppo_jax/algorithm/loss.py",
        "jnp.clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon)",
        "jnp.exp(jnp.clip(jnp.log(ratio), -clip_epsilon, clip_epsilon))",
        ("tests/algorithm/test_loss.py::test_the_objective_is_flat_past_its_bound_and_linear_before_it",),
    ),
    Bug(
        "the log-ratio is not clamped",
        "ppo_jax/algorithm/loss.py",
        "jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)",
        "log_prob - old_log_prob",
        (_EXTREMES,),
    ),
    Bug(
        "targets do not saturate",
        "ppo_jax/algorithm/loss.py",
        "jnp.clip(minibatch.target, -SATURATION, SATURATION)",
        "minibatch.target",
        (_EXTREMES,),
    ),
    Bug(
        "advantages do not saturate",
        "ppo_jax/algorithm/loss.py",
        "jnp.clip(minibatch.advantage, -SATURATION, SATURATION)",
        "minibatch.advantage",
        (_EXTREMES,),
    ),
    Bug(
        "a single advantage is normalized away",
        "ppo_jax/algorithm/normalization.py",
        "if advantage.size * shards.count() == 1:",
        "if advantage.size * shards.count() == 0:",
        ("tests/algorithm/test_normalization.py::test_a_single_advantage_is_not_standardized",),
    ),
    Bug(
        "the deviation of a sample instead of a population",
        "ppo_jax/algorithm/normalization.py",
        "shards.pool_moments(advantage.mean(), advantage.var())",
        "shards.pool_moments(advantage.mean(), advantage.var(ddof=1))",
        (_ORACLE_OF_LOSS,),
    ),
    Bug(
        "the divergence by its noisy estimator",
        "ppo_jax/algorithm/loss.py",
        "jnp.expm1(log_ratio) - log_ratio",
        "-log_ratio",
        (
            "tests/algorithm/test_loss.py::test_the_estimated_divergence_is_never_negative_and_right_on_average",
        ),
    ),
    Bug(
        "every epoch in the same order",
        "ppo_jax/algorithm/update.py",
        "(jax.random.split(key, config.num_epochs))",
        "(jnp.broadcast_to(key, (config.num_epochs,)))",
        ("tests/algorithm/test_update.py::test_the_order_differs_between_epochs_and_between_updates",),
    ),
    Bug(
        "samples are drawn with replacement",
        "ppo_jax/algorithm/update.py",
        "return shuffle(key, num_steps * width).reshape(config.num_minibatches, -1)",
        "return jnp.zeros((config.num_minibatches, num_steps * width // config.num_minibatches), jnp.int32)",
        ("tests/algorithm/test_update.py::test_every_sample_is_used_exactly_once_per_epoch",),
    ),
    Bug(
        "gradients are clipped one by one",
        "ppo_jax/algorithm/update.py",
        "optax.clip_by_global_norm(",
        "optax.clip(",
        (_ORACLE_OF_ADAM,),
    ),
    Bug(
        "Adam's epsilon is its own default",
        "ppo_jax/algorithm/update.py",
        "optax.scale_by_adam(eps=hyper.adam_epsilon)",
        "optax.scale_by_adam()",
        (_ORACLE_OF_ADAM,),
    ),
    Bug(
        "the learning rate is one update ahead",
        "ppo_jax/algorithm/train.py",
        "progress = state.num_updates.as_float() /",
        "progress = state.num_updates.plus(1).as_float() /",
        (
            "tests/algorithm/test_train.py::test_the_learning_rate_that_is_reported_falls_linearly_and_once_per_update",
        ),
    ),
    Bug(
        "the log-probability of another action",
        "ppo_jax/algorithm/rollout.py",
        "return self.policy.log_prob(self.action)",
        "return self.policy.log_prob(self.policy.mode())",
        (
            "tests/algorithm/test_rollout.py"
            "::test_the_log_probability_is_the_policys_own_of_the_action_that_was_sampled",
        ),
    ),
    Bug(
        "the successor is the observation after the reset",
        "ppo_jax/algorithm/rollout.py",
        "normalize_observation(decision.statistics, time_step.final_observation)",
        "normalize_observation(decision.statistics, time_step.observation)",
        (
            "tests/algorithm/test_rollout.py"
            "::test_the_successor_differs_from_the_next_observation_exactly_where_an_episode_ended",
        ),
    ),
    Bug(
        "a time limit counts as termination",
        "ppo_jax/algorithm/rollout.py",
        "terminated=time_step.terminated",
        "terminated=time_step.done",
        (_KNOWN_VALUES,),
    ),
    Bug(
        "no episode ever starts anew",
        "ppo_jax/algorithm/rollout.py",
        "start=time_step.done",
        "start=jnp.zeros_like(time_step.done)",
        (
            "tests/algorithm/test_rollout.py::test_an_episode_starts_at_the_first_step_of_all_and_after_every_end",
        ),
    ),
    Bug(
        "the bootstrap values the state itself",
        "ppo_jax/algorithm/estimate.py",
        "(memory, trajectory.final_observation)",
        "(memory, trajectory.observation)",
        (
            "tests/algorithm/test_estimate.py::test_successors_have_the_values_that_the_network_gives_to_each_of_them",
        ),
    ),
    Bug(
        "an episode cut off by a time limit goes on in the next one",
        "ppo_jax/algorithm/estimate.py",
        "cut_off = trajectory.done.at[-1].set(True)",
        "cut_off = jnp.zeros_like(trajectory.done).at[-1].set(True)",
        (
            _KNOWN_VALUES,
            "tests/algorithm/test_estimate.py::test_successors_have_the_values_that_the_network_gives_to_each_of_them",
        ),
    ),
    Bug(
        "only as many time limits as environments are valued",
        "ppo_jax/fast/loops.py",
        "jax.lax.while_loop(lambda carry: carry[0].any(), compute_some, start)",
        "compute_some(start)",
        (
            "tests/fast/test_loops.py::test_map_where_equals_where_of_the_mapped_values",
            "tests/algorithm/test_estimate.py::test_successors_have_the_values_that_the_network_gives_to_each_of_them",
        ),
    ),
    Bug(
        "gradients are taken in whatever precision the device likes",
        "ppo_jax/fast/matmul.py",
        "of_x = jnp.matmul(slope, kernel.T, precision=precision)",
        "of_x = jnp.matmul(slope, kernel.T)",
        ("tests/fast/test_matmul.py::test_the_gradients_have_the_precision_of_the_product",),
    ),
    Bug(
        "the value target is the advantage",
        "ppo_jax/algorithm/estimate.py",
        "target=advantage + value",
        "target=advantage",
        (_KNOWN_VALUES,),
    ),
    Bug(
        "the policy's last layer starts as large as the value's",
        "ppo_jax/networks/flax.py",
        "POLICY_GAIN, VALUE_GAIN = 0.01, 1.0",
        "POLICY_GAIN, VALUE_GAIN = 1.0, 1.0",
        ("tests/networks/test_flax.py::test_the_first_policy_is_nearly_uniform",),
    ),
    Bug(
        "the final observation is replaced by the reset",
        "ppo_jax/envs/environment.py",
        "final_observation=transition.observation",
        "final_observation=choose(done, drawn.observation, transition.observation)",
        (
            "tests/envs/test_environment.py"
            "::test_the_final_observation_is_the_successor_whether_or_not_the_episode_ended",
        ),
    ),
    Bug(
        "the time limit of gymnax is not asked for",
        "ppo_jax/envs/gymnax.py",
        "truncated = inner.is_truncated(state, params)",
        "truncated = False",
        ("tests/envs/test_gymnax.py::test_step_500_truncates_and_does_not_terminate",),
    ),
    Bug(
        "the return goes on into the next episode",
        "ppo_jax/algorithm/episodes.py",
        "jnp.where(done, 0.0, ended.episode_return)",
        "ended.episode_return",
        (
            "tests/algorithm/test_episodes.py::test_returns_and_lengths_at_every_end_are_exactly_those_of_a_loop",
        ),
    ),
    Bug(
        "every update writes the window from its first slot",
        "ppo_jax/algorithm/episodes.py",
        "(finished + rank - 1) % WINDOW",
        "(rank - 1) % WINDOW",
        ("tests/algorithm/test_episodes.py::test_the_oldest_episode_leaves_the_window_first",),
    ),
    Bug(
        "the window keeps the oldest episodes of an update",
        "ppo_jax/algorithm/episodes.py",
        "(rank > num_ended - WINDOW)",
        "(rank <= WINDOW)",
        ("tests/algorithm/test_episodes.py::test_every_update_may_end_more_than_a_hundred_episodes",),
    ),
    Bug(
        "the key never advances",
        "ppo_jax/algorithm/train.py",
        "state = state._replace(collector=collector, key=key)",
        "state = state._replace(collector=collector)",
        ("tests/algorithm/test_train.py::test_every_update_leaves_another_key_for_the_next",),
    ),
    Bug(
        "the variance of rounding counts as variance",
        "ppo_jax/algorithm/estimate.py",
        "variance > rounding",
        "variance > 0",
        ("tests/algorithm/test_estimate.py::test_rounding_is_not_taken_for_variance",),
    ),
    Bug(
        "the agent sees observations as they are",
        "ppo_jax/algorithm/agent.py",
        "observation = normalize_observation(agent.statistics, observation)",
        "observation = observation",
        (
            "tests/algorithm/test_evaluate.py::test_observations_are_normalized_by_the_statistics_from_training",
        ),
    ),
    Bug(
        "a sweep of the caller's own network trains another",
        "ppo_jax/scale/sweep.py",
        "partial(train, config, environment=environment, make_network=make_network)",
        "partial(train, config, environment=environment)",
        ("tests/scale/test_sweep.py::test_a_caller_may_sweep_an_environment_and_a_network_of_their_own",),
    ),
    Bug(
        "a policy is saved without the statistics of its observations",
        "ppo_jax/algorithm/train.py",
        "statistics=state.collector.statistics)",
        "statistics=None)",
        ("tests/host/runs/test_policy.py::test_the_statistics_are_a_part_of_what_is_saved",),
    ),
    Bug(
        "a restored policy normalizes by the first statistics",
        "ppo_jax/host/runs/agents.py",
        "[given[name] for name in expected]",
        "[given[name] * ('mean' not in name) for name in expected]",
        (
            "tests/host/runs/test_policy.py"
            "::test_a_policy_with_normalized_observations_acts_in_a_new_process_as_in_its_training",
        ),
    ),
    Bug(
        "a resumed run repeats the lines after its checkpoint",
        "ppo_jax/host/training/session.py",
        "past = records.mend(run.metrics, update, NEEDED)",
        "past = records.mend(run.metrics, 2**31, NEEDED)",
        ("tests/host/training/test_loop.py::test_from_every_update_on_it_resumes_to_the_same_bits",),
    ),
    Bug(
        "the options of a run override what the user sets in XLA_FLAGS",
        "ppo_jax/host/programs/chunks.py",
        "for name, value in CPU_OPTIONS.items() if name not in flags}",
        "for name, value in CPU_OPTIONS.items()}",
        (
            "tests/host/programs/test_chunks.py::"
            "test_options_that_the_user_sets_in_xla_flags_are_left_to_them",
        ),
    ),
    Bug(
        "a resumed run keeps the horizon of its checkpoint",
        "ppo_jax/host/programs/chunks.py",
        "self.state = self.state._replace(horizon=horizon)",
        "self.state = self.state",
        ("tests/host/training/test_loop.py::test_more_steps_move_the_end_of_the_schedules",),
    ),
    Bug(
        "a checkpoint is loaded although its files have changed",
        "ppo_jax/host/runs/checkpoints/directories.py",
        "    manifest.verify(checkpoint.path)",
        "    pass",
        (
            "tests/host/runs/checkpoints/test_store.py"
            "::test_a_damaged_checkpoint_is_reported_set_aside_and_the_one_before_it_loaded",
        ),
    ),
    Bug(
        "the best checkpoint is pruned like any other",
        "ppo_jax/host/runs/checkpoints/directories.py",
        "spared = [*known[:keep], best(known)]",
        "spared = known[:keep]",
        ("tests/host/runs/checkpoints/test_store.py::test_the_newest_are_kept_and_the_best_beside_them",),
    ),
    Bug(
        "going back repeats the random numbers that led astray",
        "ppo_jax/host/programs/chunks.py",
        "self.state._replace(key=jax.random.fold_in(self.state.key, number))",
        "self.state",
        (
            "tests/host/training/test_loop.py"
            "::test_with_other_random_numbers_a_training_gets_past_what_chance_put_in_its_way",
        ),
    ),
    Bug(
        "infinite observations look like large ones",
        "ppo_jax/algorithm/normalization.py",
        "jnp.where(jnp.isfinite(x), jnp.clip(scaled, -CLIP, CLIP), jnp.nan)",
        "jnp.clip(scaled, -CLIP, CLIP)",
        ("tests/algorithm/test_normalization.py::test_numbers_that_are_not_finite_stay_visible",),
    ),
    Bug(
        "states without a legal action go unnoticed",
        "ppo_jax/host/training/failure.py",
        'if count := record["dead_ends"]:',
        "if count := 0:",
        (
            "tests/host/training/test_failure.py::test_states_without_a_legal_action_are_an_error_of_the_environment",
        ),
    ),
    Bug(
        "a minibatch may cut the sequences of a memory",
        "ppo_jax/validation.py",
        "remembers=config.memory_size > 0",
        "remembers=False",
        ("tests/test_validation.py::test_with_a_memory_minibatches_must_divide_the_environments",),
    ),
    Bug(
        "every update starts all environments anew",
        "ppo_jax/algorithm/train.py",
        "config, environment, network, hyper, collect_key, params, state.collector",
        "config, environment, network, hyper, collect_key, params, "
        "init_collector(config, environment, network, collect_key)",
        ("tests/algorithm/test_train.py::test_an_episode_continues_from_one_update_to_the_next",),
    ),
    Bug(
        "the shuffle loses samples",
        "ppo_jax/fast/shuffle.py",
        "left = (left + _hash(left_key, right) % rows) % rows",
        "left = _hash(left_key, right) % rows",
        ("tests/fast/test_shuffle.py::test_no_sample_is_lost_or_doubled",),
    ),
    Bug(
        "the shuffle mixes too little",
        "ppo_jax/fast/shuffle.py",
        "ROUNDS = 8",
        "ROUNDS = 2",
        ("tests/fast/test_shuffle.py::test_every_pair_of_samples_is_equally_likely_in_a_pair_of_places",),
    ),
    Bug(
        "an action of no probability can be sampled",
        "ppo_jax/networks/distributions.py",
        "jnp.argmax(possible & (cumulative > threshold), axis=-1)",
        "jnp.argmax(cumulative >= threshold, axis=-1)",
        ("tests/networks/test_distributions.py::test_the_ends_of_the_noise_sample_possible_actions",),
    ),
    Bug(
        "all steps meet the same chance",
        "ppo_jax/envs/environment.py",
        "jax.random.split(reset_key, shape)",
        "jax.random.split(jax.random.key(0), shape)",
        (
            "tests/envs/test_environment.py::test_first_states_drawn_in_bulk_are_independent_and_distributed_as_resets",
        ),
    ),
    Bug(
        "the run length is part of the program",
        "ppo_jax/algorithm/train.py",
        "jax.lax.optimization_barrier(state.horizon).as_float()",
        "config.num_updates",
        (
            "tests/host/programs/test_chunks.py::test_a_program_of_one_length_moves_its_schedules_over_another",
        ),
    ),
    Bug(
        "bfloat16 is asked for and not used",
        "ppo_jax/networks/flax.py",
        'rounded = self.precision == "bfloat16"',
        "rounded = False",
        ("tests/networks/test_flax.py::test_bfloat16_rounds_the_layers_and_nothing_else",),
    ),
    Bug(
        "weights of Flax's default initialization",
        "ppo_jax/networks/flax.py",
        "weights = linen.initializers.orthogonal(gain)",
        "weights = linen.initializers.lecun_normal()",
        (
            "tests/networks/test_flax.py::test_first_weights_are_orthogonal_with_the_gains_of_the_original_code",
        ),
    ),
    Bug(
        "no schedule ever moves",
        "ppo_jax/algorithm/schedules.py",
        "return (start - end) * weight + end",
        "return start",
        ("tests/algorithm/test_schedules.py::test_a_schedule_leads_from_one_end_to_the_other",),
    ),
    Bug(
        "advantages are not normalized",
        "ppo_jax/algorithm/loss.py",
        "advantage = standardize(advantage)",
        "advantage = 1 * advantage",
        (_ORACLE_OF_LOSS,),
    ),
    Bug(
        "the clip fraction counts one side only",
        "ppo_jax/algorithm/loss.py",
        "jnp.mean(jnp.abs(ratio - 1) > hyper.clip_epsilon, dtype=jnp.float32)",
        "jnp.mean(ratio - 1 > hyper.clip_epsilon, dtype=jnp.float32)",
        ("tests/algorithm/test_loss.py::test_the_clip_fraction_is_the_share_of_ratios_outside_the_range",),
    ),
    Bug(
        "a shared torso is not shared",
        "ppo_jax/networks/flax.py",
        "    if config.shared_torso:",
        "    if False:",
        ("tests/networks/test_network.py::test_with_a_shared_torso_policy_and_value_move_the_same_layers",),
    ),
    Bug(
        "the noise has a fixed size",
        "ppo_jax/networks/distributions.py",
        "self.mean + jnp.exp(self.log_std) * noise",
        "self.mean + 0.1 * noise",
        ("tests/networks/test_distributions.py::test_samples_of_a_gaussian_are_normal_and_independent",),
    ),
    Bug(
        "the deviation starts somewhere else",
        "ppo_jax/networks/network.py",
        "jnp.zeros(num_outputs(action_space), jnp.float32)",
        "jnp.full(num_outputs(action_space), -1.0)",
        (
            "tests/networks/test_network.py::test_the_deviation_of_a_box_is_a_parameter_that_starts_at_the_scale_of_the_actions",
        ),
    ),
    Bug(
        "the log-density is a mean",
        "ppo_jax/networks/distributions.py",
        "return log_density.sum(axis=-1)",
        "return log_density.mean(axis=-1)",
        ("tests/networks/test_distributions.py::test_the_log_density_of_a_gaussian_is_that_of_scipy",),
    ),
    Bug(
        "actor and critic start alike",
        "ppo_jax/networks/network.py",
        "keys = jax.random.split(key)",
        "keys = [key, key]",
        ("tests/networks/test_flax.py::test_actor_and_critic_start_from_different_weights",),
    ),
    Bug(
        "actions are not clipped",
        "ppo_jax/algorithm/rollout.py",
        "clipped = spaces.clip(environment.action_space, decision.action)",
        "clipped = decision.action",
        ("tests/test_spaces.py::test_the_environment_receives_the_action_within_its_bounds",),
    ),
    Bug(
        "statistics of observations never move",
        "ppo_jax/algorithm/rollout.py",
        "statistics = merge_observation(collector.statistics, collector.observation)",
        "statistics = collector.statistics",
        (
            "tests/algorithm/test_normalization.py::test_every_step_is_normalized_by_all_observations_acted_on_up_to_then",
        ),
    ),
    Bug(
        "normalized observations have no bounds",
        "ppo_jax/algorithm/normalization.py",
        "return jnp.where(jnp.isfinite(x), jnp.clip(scaled, -CLIP, CLIP), jnp.nan)",
        "return scaled",
        ("tests/algorithm/test_normalization.py::test_normalized_numbers_are_clipped_to_ten",),
    ),
    Bug(
        "rewards are scaled by their own deviation",
        "ppo_jax/algorithm/normalization.py",
        "merge(scaler.statistics, sums.reshape(-1))",
        "merge(scaler.statistics, reward.reshape(-1))",
        (
            "tests/algorithm/test_normalization.py::test_rewards_are_divided_by_the_deviation_of_their_discounted_sums",
        ),
    ),
    Bug(
        "scaled rewards have no bounds",
        "ppo_jax/algorithm/normalization.py",
        "scaled = jnp.clip(reward * inverse_deviation(statistics), -CLIP, CLIP)",
        "scaled = reward * inverse_deviation(statistics)",
        ("tests/algorithm/test_normalization.py::test_scaled_rewards_are_clipped_to_ten_on_both_sides",),
    ),
    Bug(
        "a memory of Flax's default initialization",
        "ppo_jax/networks/flax.py",
        "return linen.GRUCell(size, kernel_init=weights, recurrent_kernel_init=weights, dtype=dtype)",
        "return linen.GRUCell(size, dtype=dtype)",
        ("tests/networks/test_flax.py::test_the_first_weights_of_a_memory_are_orthogonal_gate_by_gate",),
    ),
    Bug(
        "the first memory is not empty",
        "ppo_jax/networks/flax.py",
        "init_memory=lambda num_envs: jnp.zeros((num_envs, memory_size), jnp.float32),",
        "init_memory=lambda num_envs: jnp.ones((num_envs, memory_size)),",
        (
            "tests/networks/test_network.py::test_the_memory_starts_at_zero_and_is_kept_from_one_rollout_to_the_next",
        ),
    ),
    Bug(
        "the memory outlives the episode",
        "ppo_jax/networks/network.py",
        "jax.tree.map(lambda x: jnp.where(start[..., None], 0.0, x), memory)",
        "memory",
        (
            "tests/networks/test_network.py::test_every_copy_remembers_its_own_episode_and_nothing_of_the_one_before",
        ),
    ),
    Bug(
        "sequences are cut up",
        "ppo_jax/algorithm/update.py",
        "lambda x: jnp.swapaxes(x, 0, 1)",
        "lambda x: x.reshape(x.shape[1], x.shape[0], *x.shape[2:])",
        ("tests/networks/test_network.py::test_minibatches_hold_whole_sequences_each_once_per_epoch",),
    ),
    Bug(
        "sequences begin with an empty memory",
        "ppo_jax/networks/network.py",
        "first = jax.tree.map(lambda x: x[:, 0], memory)",
        "first = jax.tree.map(lambda x: 0 * x[:, 0], memory)",
        ("tests/networks/test_network.py::test_a_sequence_begins_with_its_stored_memory_and_uses_no_other",),
    ),
    Bug(
        "only the first component counts",
        "ppo_jax/networks/distributions.py",
        "return sum((part.log_prob(action[..., i]) for i, part in enumerate(self.parts)), jnp.float32(0))",
        "return self.parts[0].log_prob(action[..., 0])",
        ("tests/networks/test_distributions.py::test_quantities_of_several_components_are_sums_over_them",),
    ),
    Bug(
        "an illegal action is only improbable",
        "ppo_jax/networks/distributions.py",
        "ILLEGAL = -1e30",
        "ILLEGAL = -5.0",
        (
            "tests/networks/test_distributions.py::test_an_illegal_action_has_probability_zero_and_the_legal_ones_share_it_all",
        ),
    ),
    Bug(
        "epochs go on after the limit of the KL",
        "ppo_jax/algorithm/update.py",
        "info.loss.approx_kl > hyper.target_kl",
        "info.loss.approx_kl > jnp.inf",
        (
            "tests/algorithm/test_schedules.py::test_epochs_after_the_kl_limit_change_neither_parameters_nor_means",
        ),
    ),
    Bug(
        "the penalty is halved where it should be doubled",
        "ppo_jax/algorithm/schedules.py",
        "jnp.where(is_high, doubled,",
        "jnp.where(is_high, halved,",
        (
            "tests/algorithm/test_schedules.py::test_the_penalty_is_doubled_or_halved_beyond_one_and_a_half_times_the_desired_kl",
        ),
    ),
    Bug(
        "the divergence is penalized the other way round",
        "ppo_jax/algorithm/loss.py",
        "old_policy.kl(policy)",
        "policy.kl(old_policy)",
        ("tests/algorithm/test_objectives.py::test_loss_and_gradient_match_the_hand_written_oracle",),
    ),
    Bug(
        "a deviation that has left its bounds stays there",
        "ppo_jax/networks/distributions.py",
        "clipped = log_std + jax.lax.stop_gradient(jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD) - log_std)",
        "clipped = jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD)",
        (
            "tests/networks/test_distributions.py::test_a_standard_deviation_outside_its_bounds_can_still_learn",
        ),
    ),
    Bug(
        "the pool hands out its first states again in every step",
        "ppo_jax/envs/environment.py",
        "place = (state.used + rank[0] - 1) % size",
        "place = (rank[0] - 1) % size",
        ("tests/envs/test_pool.py::test_first_states_are_handed_out_in_order_and_then_again_from_the_first",),
    ),
    Bug(
        "a pool that is too small is not noticed",
        "ppo_jax/envs/environment.py",
        "jnp.maximum(state.used - size, 0)",
        "jnp.zeros_like(state.used)",
        ("tests/envs/test_pool.py::test_the_count_of_repeated_starts_is_reported_for_each_update",),
    ),
    Bug(
        "the pool is filled once and for all",
        "ppo_jax/algorithm/rollout.py",
        "environment=environment.pool.refill(pool_key, collector.environment)",
        "environment=collector.environment",
        ("tests/envs/test_pool.py::test_as_long_as_it_lasts_no_first_state_is_seen_twice_in_any_rollout",),
    ),
    Bug(
        "a metric of the environment is summed over episodes",
        "ppo_jax/algorithm/episodes.py",
        "running_metrics={name: jnp.where(done, 0.0, total) for name, total in totals.items()}",
        "running_metrics=totals",
        (
            "tests/algorithm/test_own_metrics.py::test_each_is_the_mean_of_its_sums_exactly_as_counted_by_hand",
        ),
    ),
    Bug(
        "a metric of the environment is summed over updates",
        "ppo_jax/algorithm/episodes.py",
        "finished=finished, ended_metrics=nothing)",
        "finished=finished)",
        (
            "tests/algorithm/test_own_metrics.py::test_each_is_the_mean_of_its_sums_exactly_as_counted_by_hand",
        ),
    ),
    Bug(
        "code that has changed is run",
        "ppo_jax/host/runs/code.py",
        "if digest(files) != recorded.sha256:",
        "if False:",
        (
            "tests/host/runs/test_code.py::test_a_file_that_has_changed_is_refused_before_a_checkpoint_is_read",
        ),
    ),
    Bug(
        "code in a run directory is run",
        "ppo_jax/host/runs/code.py",
        'file = directory / "config.json"',
        'file = directory / "other.json"',
        ("tests/host/runs/test_code.py::test_nothing_in_a_run_directory_is_ever_run",),
    ),
    Bug(
        "any function is called for a run directory",
        "ppo_jax/host/runs/loading.py",
        "if problem and not trust:",
        "if False:",
        ("tests/host/runs/test_code.py::test_a_function_is_called_only_if_its_author_marked_it",),
    ),
    Bug(
        "small numbers are not normalized",
        "ppo_jax/algorithm/normalization.py",
        "jnp.minimum(EPSILON, SHARE * spread)",
        "EPSILON",
        (
            "tests/algorithm/test_normalization.py::test_the_scale_of_advantages_does_not_matter",
            "tests/algorithm/test_normalization.py::test_the_scale_of_observations_does_not_matter",
        ),
    ),
    Bug(
        "any script of the machine is run for a run directory",
        "ppo_jax/host/runs/code.py",
        "if _PURPOSES.search(content):",
        "if True:",
        ("tests/host/runs/test_code.py::test_a_script_of_this_machine_is_not_run",),
    ),
    Bug(
        "a run directory leads to what lies beside it",
        "ppo_jax/host/runs/request.py",
        "if not Path(source.path).is_absolute():",
        "if False:",
        ("tests/host/runs/test_code.py::test_a_relative_path_leads_to_no_file_that_came_with_the_run",),
    ),
    Bug(
        "arguments of another type are the same task",
        "ppo_jax/config.py",
        "return isinstance(other, tuple) and repr(tuple(self)) == repr(tuple(other))",
        "return tuple(self) == other",
        (
            "tests/envs/test_arguments.py::test_arguments_that_differ_only_in_their_type_are_two_tasks_to_compiled_programs",
        ),
    ),
    Bug(
        "code may change the settings of JAX",
        "ppo_jax/host/runs/loading.py",
        "jax.config.update(name, config[name])",
        "pass",
        ("tests/host/runs/test_code.py::test_code_that_cannot_be_used_is_explained_in_one_line",),
    ),
    Bug(
        "arguments of the environment do not enter the digest",
        "ppo_jax/host/runs/request.py",
        "if fields[name] == usual:",
        "if True:",
        (
            "tests/envs/test_arguments.py::test_they_decide_the_digest_of_a_run_and_without_them_it_is_what_it_always_was",
        ),
    ),
    Bug(
        "half of CartPole has another pole",
        "ppo_jax/envs/gymnax.py",
        "lambda params: params.masspole * params.length",
        "lambda params: params.polemass_length",
        ("tests/envs/test_arguments.py::test_what_follows_from_a_changed_parameter_changes_with_it",),
    ),
    Bug(
        "compiled programs go on with what a name meant before",
        "ppo_jax/registered.py",
        'if is_replaced and "jax" in sys.modules:',
        "if False:",
        (
            "tests/test_registered.py::test_a_name_that_is_registered_again_means_the_new_one_also_to_compiled_programs",
        ),
    ),
    Bug(
        "a loop does not vary over devices",
        "ppo_jax/fast/loops.py",
        "return jax.tree.map(lambda x: jnp.where(true, x, x), tree)",
        "return tree",
        ("tests/algorithm/test_modes.py::test_shard_map_trains_without_turning_its_check_off",),
    ),
    Bug(
        "the order of samples depends on the mode of JAX",
        "ppo_jax/fast/shuffle.py",
        "jax.random.bits(key, (ROUNDS, 2), jnp.uint32)",
        "jax.random.bits(key, (ROUNDS, 2))",
        ("tests/algorithm/test_modes.py::test_the_mode_with_64_bits_changes_no_value",),
    ),
    Bug(
        "hyperparameters of another type compile again",
        "ppo_jax/algorithm/mapped.py",
        "values = hyper if is_axes else map(as_float, hyper)",
        "values = hyper",
        ("tests/algorithm/test_modes.py::test_numbers_of_all_types_share_one_compilation",),
    ),
    Bug(
        "a tree of axes is taken for numbers",
        "ppo_jax/algorithm/mapped.py",
        "isinstance(hyper.learning_rate, int | None)",
        "False",
        ("tests/algorithm/test_modes.py::test_a_tree_of_axes_or_of_anything_else_is_left_as_it_is",),
    ),
    Bug(
        "a state may change its kind",
        "ppo_jax/envs/environment.py",
        "if given.get(name) != became.get(name)",
        "if False",
        ("tests/envs/test_given.py::test_a_step_that_changes_the_kind_of_the_state_is_refused",),
    ),
    Bug(
        "sinks get the newest update alone",
        "ppo_jax/host/training/journal.py",
        'self.sinks.write_chunk(new, "train")',
        'self.sinks.write_chunk(new[-1:], "train")',
        (
            "tests/host/training/test_journal.py::test_sinks_get_every_update_of_a_chunk_each_as_many_as_it_takes",
        ),
    ),
    Bug(
        "a mean of episodes is the mean of means",
        "ppo_jax/host/monitor/sinks/thinning.py",
        'weights = [record["episodes"] if of_episodes else 1 for record in present]',
        "weights = [1 for record in present]",
        (
            "tests/host/monitor/test_thinning.py::test_counts_are_summed_the_newest_counter_counts_and_the_rest_are_means",
        ),
    ),
    Bug(
        "an older policy is taken for the newest agent",
        "ppo_jax/host/runs/policy.py",
        "return run.policy.exists() and not is_older and not has_failed",
        "return run.policy.exists()",
        ("tests/host/runs/test_policy.py::test_a_policy_is_the_newest_only_if_nothing_was_saved_after_it",),
    ),
    Bug(
        "values of images are computed all at once",
        "ppo_jax/fast/loops.py",
        "most = (CPU_BYTES if on_cpu else DEVICE_BYTES) // bytes_of_step",
        "most = num_steps",
        (
            "tests/host/programs/test_footprint.py::test_the_values_of_images_are_computed_in_pieces_that_need_little",
        ),
    ),
    Bug(
        "two runs share a name",
        "ppo_jax/host/runs/directory.py",
        "path.mkdir(parents=True)\n            return path",
        "path.mkdir(parents=True, exist_ok=True)\n            return path",
        (
            "tests/host/runs/test_directory.py::test_a_name_that_another_process_takes_in_between_is_not_shared",
        ),
    ),
    Bug(
        "a closed terminal kills",
        "ppo_jax/host/training/signals.py",
        "numbers.append(signal.SIGHUP)",
        "pass",
        ("tests/survival/test_surroundings.py::test_a_terminal_that_is_closed_saves_the_run",),
    ),
    Bug(
        "a column beside a row becomes a table",
        "ppo_jax/algorithm/given.py",
        "if len({len(shape) for shape in shapes.values()}) > 1 and together not in shapes.values():",
        "if False:",
        ("tests/algorithm/test_loss.py::test_a_column_beside_a_row_is_refused",),
    ),
    Bug(
        "all members of a sweep have the same seed",
        "ppo_jax/host/programs/lanes.py",
        "return _ppo_of(config, settings).init(settings.hyper, jax.random.key(seed))",
        "return _ppo_of(config, settings).init(settings.hyper, jax.random.key(0))",
        ("tests/host/test_sweeps.py::test_a_member_has_the_bits_of_the_run_that_it_would_be_alone",),
    ),
    Bug(
        "a member that fails is saved with its numbers that are not finite",
        "ppo_jax/host/programs/lanes.py",
        "return jnp.where(keep, x, jnp.zeros_like(x))",
        "return x",
        ("tests/host/test_sweeps.py::test_one_member_that_fails_is_marked_and_changes_no_other",),
    ),
    Bug(
        "a seed that failed is left out of the score of its point",
        "ppo_jax/host/diagnosis/ranking.py",
        "np.where(np.isfinite(found), found, lowest)",
        "found[np.isfinite(found)]",
        (
            "tests/host/diagnosis/test_ranking.py"
            "::test_a_seed_that_failed_counts_as_the_lowest_score_of_the_sweep",
        ),
    ),
    Bug(
        "the best point is trained again from the same seeds",
        "ppo_jax/host/runs/family.py",
        "return self.base.seed + self.num_seeds + member - self.num_members",
        "return self.base.seed + member - self.num_members",
        (
            "tests/host/test_sweeps.py"
            "::test_the_ranking_names_each_point_and_the_best_is_trained_again_from_other_seeds",
        ),
    ),
    Bug(
        "successive halving keeps the worst points",
        "ppo_jax/host/training/sweep.py",
        "results.failed)[:count])",
        "results.failed)[-count:])",
        (
            "tests/host/test_sweeps.py"
            "::test_the_first_rung_decides_by_the_scores_after_a_third_of_the_updates",
        ),
    ),
    Bug(
        "a survivor goes on from the state of another member",
        "ppo_jax/host/runs/members.py",
        "lane = one.lanes.index(member)\n",
        "lane = 0\n",
        (
            "tests/host/test_sweeps.py"
            "::test_after_each_rung_the_best_third_is_trained_on_to_the_bits_of_its_run",
        ),
    ),
    Bug(
        "the metrics of a later chunk replace those of the first",
        "ppo_jax/host/runs/tables.py",
        "table[0][name][rows, first:last] = values",
        "table[0][name][rows, : last - first] = values",
        ("tests/host/runs/test_tables.py::test_what_is_written_is_read_with_numpy_alone",),
    ),
    Bug(
        "another sweep continues in a directory as if it were the same",
        "ppo_jax/host/training/start_sweep.py",
        "if family.digest(before) != family.digest(asked):",
        "if False:",
        ("tests/host/test_sweeps.py::test_another_sweep_in_the_same_directory_is_refused",),
    ),
    Bug(
        "the worst members of a population never copy the best",
        "ppo_jax/scale/population.py",
        "(known[donors] > known)",
        "(known[donors] < known)",
        (
            "tests/scale/test_population.py"
            "::test_each_of_the_worst_copies_one_of_the_best_that_its_own_key_draws",
        ),
    ),
    Bug(
        "a member of a population that failed does not copy another",
        "ppo_jax/scale/population.py",
        "known = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)",
        "known = scores",
        ("tests/scale/test_population.py::test_members_without_a_finite_score_copy_and_are_never_copied",),
    ),
    Bug(
        "all hyperparameters of a population explore with the same draws",
        "ppo_jax/scale/population.py",
        "zlib.crc32(name.encode())",
        "0",
        ("tests/scale/test_population.py::test_exploring_is_what_the_oracle_says",),
    ),
    Bug(
        "a member that copies another takes over its key",
        "ppo_jax/scale/population.py",
        "(lambda x: x[parents], state)._replace(key=state.key)",
        "(lambda x: x[parents], state)",
        (
            "tests/scale/test_population.py"
            "::test_a_member_inherits_everything_but_the_key_and_then_goes_its_own_way",
        ),
    ),
    Bug(
        "a generation begins without what its members copied",
        "ppo_jax/host/runs/members.py",
        "state=jax.jit(inherit)(saved.state, parents)",
        "state=saved.state",
        (
            "tests/host/test_population.py"
            "::test_a_member_that_copies_goes_on_from_all_arrays_of_its_parent_but_the_key",
        ),
    ),
    Bug(
        "a generation that is trained again has the values of a later one",
        "ppo_jax/host/runs/layout.py",
        "generations=asked.generations[: block.number]",
        "generations=asked.generations",
        ("tests/host/test_population.py::test_states_that_are_damaged_are_trained_again_to_the_same_bits",),
    ),
    Bug(
        "an exported policy leaves the bounds of its actions",
        "ppo_jax/host/export/standalone.py",
        """                action = np.minimum(np.maximum(action, its["low"]), its["high"])
""",
        "",
        (
            "tests/host/export/test_loading.py"
            "::test_continuous_actions_are_within_their_bounds_and_differ_by_noise",
        ),
    ),
    Bug(
        "an exported policy allows nothing where the mask allows nothing",
        "ppo_jax/host/export/standalone.py",
        "legal | ~legal.any(axis=1, keepdims=True)",
        "legal",
        (
            "tests/host/export/test_parity.py"
            "::test_an_exported_policy_is_the_trained_one_where_the_package_is_not",
        ),
    ),
    Bug(
        "a graph of ONNX returns no memory",
        "ppo_jax/host/export/formats/as_onnx.py",
        "x = memory = _remember(graph, x, its)",
        "x = _remember(graph, x, its)",
        (
            "tests/host/export/test_parity.py"
            "::test_an_exported_policy_is_the_trained_one_where_the_package_is_not",
        ),
    ),
    Bug(
        "an export normalizes observations twice",
        "ppo_jax/host/export/layers.py",
        "clip=CLIP)\n",
        """clip=CLIP)
        layers.append(layers[-1]._replace(name="normalize_1"))
""",
        (
            "tests/host/export/test_parity.py"
            "::test_an_exported_policy_is_the_trained_one_where_the_package_is_not",
        ),
    ),
    Bug(
        "an export is compared on memories of the episode before",
        "ppo_jax/host/export/parity.py",
        "jnp.where(start.reshape(-1, *[1] * (x.ndim - 1)), 0, x)",
        "x",
        ("tests/host/export/test_parity.py::test_samples_have_masks_memories_and_beginnings_of_episodes",),
    ),
    Bug(
        "an export whose outputs are NaN counts as the trained policy",
        "ppo_jax/host/export/parity.py",
        "if not largest <= tolerance or unexplained:",
        "if largest > tolerance or unexplained:",
        ("tests/host/export/test_parity.py::test_another_policy_is_refused",),
    ),
    Bug(
        "an export whose files have changed is loaded",
        "ppo_jax/host/export/opening.py",
        'if hashlib.sha256(content).hexdigest() != claim["sha256"]:',
        "if False:",
        ("tests/host/export/test_opening.py::test_a_damaged_or_foreign_export_is_refused_with_the_reason",),
    ),
    Bug(
        "the actor learns while the critic warms up",
        "ppo_jax/algorithm/warm_start.py",
        "lambda x: jnp.where(is_held, jax.lax.stop_gradient(x), x)",
        "lambda x: x",
        (f"{_WARM}::test_the_actor_keeps_its_bits_while_the_critic_warms_up_and_learns_afterwards",),
    ),
    Bug(
        "Adam goes on counting after the warm-up of the critic",
        "ppo_jax/algorithm/warm_start.py",
        "lambda new, x: jnp.where(is_last, new, x)",
        "lambda new, x: x",
        (f"{_WARM}::test_adam_starts_anew_when_the_actor_begins_to_learn",),
    ),
    Bug(
        "an actor starts without the statistics that it has learned with",
        "ppo_jax/algorithm/warm_start.py",
        """        return is_asked_for or path.startswith("statistics/")
""",
        """        return is_asked_for and not path.startswith("statistics/")
""",
        (f"{_WARM}::test_one_part_comes_with_the_statistics_and_the_other_is_drawn",),
    ),
    Bug(
        "the KL of a teacher is the wrong way round",
        "ppo_jax/algorithm/loss.py",
        "minibatch.teacher.kl(policy).mean()",
        "policy.kl(minibatch.teacher).mean()",
        (f"{_TEACHER}::test_the_term_of_the_teacher_has_the_loss_and_the_gradient_of_the_oracle",),
    ),
    Bug(
        "the weight of a teacher becomes negative",
        "ppo_jax/algorithm/schedules.py",
        "    weight = jnp.maximum(1 - share, 0.0)\n",
        "    weight = 1 - share\n",
        (f"{_TEACHER}::test_the_weight_of_the_teacher_falls_linearly_to_zero",),
    ),
    Bug(
        "a teacher sees numbers that it has not learned with",
        "ppo_jax/algorithm/teacher.py",
        "        features = normalize(teacher.statistics, features)\n",
        "        pass\n",
        (f"{_TEACHER}::test_a_teacher_sees_what_the_critic_sees_in_its_own_units",),
    ),
    Bug(
        "a task changes one update early",
        "ppo_jax/algorithm/task.py",
        "    done = num_updates.as_float() *",
        "    done = num_updates.plus(1).as_float() *",
        ("tests/algorithm/test_task.py::test_an_argument_moves_linearly_and_then_stays",),
    ),
    Bug(
        "a copy of a teacher that has changed is used",
        "ppo_jax/host/runs/known.py",
        "    if found.sha256 == sha256:\n",
        "    if sha256 is not None:\n",
        (
            "tests/host/runs/test_known.py::test_a_damaged_copy_is_noticed_and_made_again_while_its_origin_is_as_it_was",
        ),
    ),
)
