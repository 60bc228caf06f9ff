"""Acts with an exported policy. This file needs Python 3.10, NumPy and safetensors, and nothing else.

ppo_jax writes it beside the numbers of the policy, as `policy.py`. Copy it into your own program:

    layers = load("directory of the export")
    outputs = act(layers, observation)  # observations [N, ...]; outputs["action"] are the actions
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ILLEGAL = np.float32(-1e30)  # the logit of an action that the mask does not allow


def load(directory):
    """Reads the layers of a policy: for each its kind, and its tensors and constants by name."""
    description = json.loads(Path(directory, "policy.json").read_text())
    return assemble(description["layers"], load_file(Path(directory, "policy.safetensors")))


def assemble(layers, tensors):
    """Puts the tensors of layers, "name of the layer/name", to the constants of the layers."""
    assembled = []
    for layer in layers:
        own = {name: tensors[f"{layer['name']}/{name}"] for name in layer["tensors"]}
        assembled.append((layer["kind"], {**layer["constants"], **own}))
    return assembled


def act(layers, observation, mask=None, memory=None, noise=None):
    """Computes actions. Which inputs there are, and what they mean, is in `contract.json`.

    Args:
        layers: The layers, from `load`.
        observation: The observations, [N, ...] float32, as the environment gives them.
        mask: The actions that are allowed, [N, A] bool.
        memory: The memory after the observations before these, [N, H] float32; zeros when an episode begins.
        noise: Random numbers, with which actions are sampled; without them the most probable ones are taken.

    Returns:
        The actions and what they were chosen from, by name, [N, ...] each.
    """
    x, outputs = observation, {}
    for kind, its in layers:
        match kind:
            case "normalize":
                scaled = (x - its["mean"]) * its["scale"]
                clipped = np.minimum(np.maximum(scaled, -its["clip"]), its["clip"])
                x = np.where(np.isfinite(x), clipped, np.float32(np.nan))
            case "convolution":  # 3 x 3, of images [N, height, width, channels]
                near = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # [N, h, w, c, 3, 3]
                patches = np.moveaxis(near, 3, 5)  # [N, h, w, 3, 3, c]
                x = patches.reshape(*patches.shape[:3], -1) @ its["kernel"] + its["bias"]
            case "flatten":
                x = x.reshape(len(x), -1)
            case "dense":
                x = x @ its["kernel"] + its["bias"]
            case "tanh":
                x = np.tanh(x)
            case "relu":
                x = np.maximum(x, 0)
            case "gru":
                x = memory = remember(its, x, memory)
            case "categorical":
                outputs = choose(x, [its["size"]], mask, None if noise is None else noise[:, None])
                outputs["action"] = outputs["action"][:, 0]
            case "multi_categorical":
                outputs = choose(x, its["sizes"], mask, noise)
            case "gaussian":
                mean = its["middle"] + its["scale"] * x
                action = mean if noise is None else mean + np.exp(its["log_std"]) * noise
                action = np.minimum(np.maximum(action, its["low"]), its["high"])
                outputs = {
                    "action": action,
                    "mean": mean,
                    "log_std": np.broadcast_to(its["log_std"], x.shape),
                }
    return outputs if memory is None else {**outputs, "next_memory": memory}


def remember(its, x, memory):
    """A gated recurrent unit: returns the next memory, [N, H]."""
    of_x = x @ its["input_kernel"] + its["input_bias"]  # [N, 3 H]: reset, update, new
    of_memory = memory @ its["memory_kernel"] + its["memory_bias"]
    size = memory.shape[1]
    gates = 0.5 + 0.5 * np.tanh(0.5 * (of_x + of_memory)[:, : 2 * size])  # the logistic function
    reset, update = gates[:, :size], gates[:, size:]
    new = np.tanh(of_x[:, 2 * size :] + reset * of_memory[:, 2 * size :])
    return (1 - update) * new + update * memory


def choose(logits, sizes, mask, noise):
    """Chooses a value for each component of an action, [N, C], from logits side by side, [N, sum(sizes)].

    Without noise it is the most probable value. With noise, uniform in [0, 1), [N, C], it is the first whose
    cumulative probability exceeds the noise, and never one that is not allowed. Where the mask allows no
    value of a component, all are allowed.
    """
    actions, parts, start = [], [], 0
    for i, size in enumerate(sizes):
        part = logits[:, start : start + size]
        if mask is not None:
            legal = mask[:, start : start + size]
            part = np.where(legal | ~legal.any(axis=1, keepdims=True), part, ILLEGAL)
        chances = part
        if noise is not None:
            weights = np.exp(part - part.max(axis=1, keepdims=True))
            sums = np.where(weights > 0, np.cumsum(weights, axis=1), np.float32(0))
            chances = sums > noise[:, i : i + 1] * sums.max(axis=1, keepdims=True)
        actions.append(chances.argmax(axis=1).astype(np.int32))
        parts.append(part)
        start += size
    return {"action": np.stack(actions, axis=1), "logits": np.concatenate(parts, axis=1)}
