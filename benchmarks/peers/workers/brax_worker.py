"""Trains with the PPO of Brax on the dynamics of CartPole.

The policy of Brax is a normal distribution squashed by tanh, not a choice among actions: the sign of its one
number decides whether it pushes to the left or to the right. To save resets, Brax begins every episode of an
environment where its first episode began. Observations are not normalized, and nothing is evaluated. A batch
consists of N sequences of T steps, and a minibatch holds whole sequences.

`train` of Brax compiles at every call, so a single call lasts as long as the worker: it reports after every
epoch of a fixed number of updates, and then waits in its callback for the next order.
"""

import queue
import sys
import threading
import traceback
from functools import partial
from importlib import metadata
from typing import Any

import jax.numpy as jnp
from brax.training.agents.ppo import networks, train  # pyright: ignore[reportMissingImports]
from brax_cartpole import CartPole
from protocol import Job, Ready, UnsupportedError, better_updates, likely_updates, serve

MOST_EPOCHS = 1_000_000
EPISODE_LENGTH = 500


def prepare(job: Job) -> Ready:
    """Starts a training whose epochs are likely to take as long as asked, and another if they did not."""
    if job.agents > 1:
        raise UnsupportedError("one agent only")
    if job.num_envs % job.num_minibatches:
        raise UnsupportedError("its minibatches hold whole sequences of environments")

    def begin(count: int) -> tuple[Training, float, float]:
        training = Training(job, count)
        # The second epoch compiles again, for the state that the first one left on its devices.
        first, second, third = (training.epoch() for _ in range(3))
        return training, first + second - 2 * third, third

    count = likely_updates(job)
    training, compiling, taken = begin(count)
    if better_updates(job, count, taken) != count:
        training.stop()
        count = better_updates(job, count, taken)
        training, compiling, _ = begin(count)

    def train_once() -> tuple[int, float]:
        return count * job.batch_size, training.epoch()

    return Ready(train=train_once, compile_seconds=max(0.0, compiling), version=metadata.version("brax"))


class Training:
    """A call of `train` in a thread of its own that does one epoch at each order."""

    def __init__(self, job: Job, updates_per_epoch: int):
        """Starts the thread; nothing is computed before the first epoch."""
        self._job = job
        self._steps = updates_per_epoch * job.batch_size
        self._orders: queue.Queue[bool] = queue.Queue()
        self._answers: queue.Queue[float | Exception] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def epoch(self) -> float:
        """Does one epoch and returns the seconds that Brax measured for it."""
        self._orders.put(True)
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        """Ends the training."""
        self._orders.put(False)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._wait()
            self._train()
        except _StopError:
            return
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._answers.put(error)

    def _wait(self) -> None:
        if not self._orders.get():
            raise _StopError

    def _report(self, _: int, metrics: dict[str, Any]) -> None:
        self._answers.put(self._steps / float(metrics["training/sps"]))
        self._wait()

    def _train(self) -> None:
        make_networks = partial(
            networks.make_ppo_networks,
            policy_hidden_layer_sizes=(64, 64),
            value_hidden_layer_sizes=(64, 64),
            activation=jnp.tanh,
        )
        train.train(
            CartPole(),
            num_timesteps=self._steps * MOST_EPOCHS,
            num_evals=MOST_EPOCHS + 1,
            run_evals=False,
            progress_fn=self._report,
            num_envs=self._job.num_envs,
            unroll_length=self._job.num_steps,
            batch_size=self._job.num_envs // self._job.num_minibatches,
            num_minibatches=self._job.num_minibatches,
            num_updates_per_batch=self._job.num_epochs,
            episode_length=EPISODE_LENGTH,
            learning_rate=2.5e-4,
            entropy_cost=0.01,
            discounting=0.99,
            gae_lambda=0.95,
            clipping_epsilon=0.2,
            max_grad_norm=0.5,
            normalize_observations=False,
            network_factory=make_networks,
        )


class _StopError(Exception):
    """Ends a training from inside its callback."""


if __name__ == "__main__":
    serve(prepare)
