"""The sink for Weights & Biases."""

import os

from ppo_jax.host.monitor.sinks.sink import PROJECT, Opening, identity

# Settings of Weights & Biases that the user's environment variables can override. It should neither capture
# the terminal, which shows the run, nor keep the run waiting.
DEFAULTS = {
    "WANDB_PROJECT": PROJECT,
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",  # it does not ask for a login either: without one it fails
    "WANDB_INIT_TIMEOUT": "30",  # seconds to find its server
    "WANDB_FINISH_TIMEOUT": "60",  # seconds to upload the rest; anything left over stays on the disk
}


class WandB:
    """A run of Weights & Biases. A resumed run continues it, and repeats what came after its checkpoint.

    Attributes:
        view: The address of the run, or the command that uploads it.
    """

    def __init__(self, opening: Opening):
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        import wandb  # only now that its environment variables are set

        path = opening.run.path
        self._run = wandb.init(
            dir=path,
            id=os.environ.get("WANDB_RUN_ID") or identity(opening.run),
            name=os.environ.get("WANDB_NAME") or path.resolve().name,
            config=opening.settings,
            resume="allow",
        )
        self._run.define_metric("*", step_metric="env_steps")
        if self._run.offline:
            self.view = f"wandb sync {path / 'wandb' / 'offline-run-*'}"
        else:
            self.view = self._run.url or "disabled"

    def write(self, step: int, values: dict[str, float]) -> None:
        """Logs metrics."""
        self._run.log({"env_steps": step, **values})

    def close(self) -> None:
        """Uploads everything that has not been uploaded yet."""
        self._run.finish()
