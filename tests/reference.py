"""Hugging Face's GPT-2 and Trainer on our parameters and windows: the oracle in tests, a rival in benchmarks."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from blackholes.config.model import Experiment
from blackholes.training.settings import Model, RunSettings
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments


def empty_model(model: Model, dtype: torch.dtype = torch.float32) -> GPT2LMHeadModel:
    """A GPT-2 of this shape without dropout, as `transformers` initialises it, then converted to `dtype`."""
    config = GPT2Config(
        vocab_size=model.vocabulary_size, n_positions=model.context, n_embd=model.width,
        n_layer=model.layers, n_head=model.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None, use_cache=False, tie_word_embeddings=model.tied,
    )  # fmt: skip
    network = GPT2LMHeadModel(config).to(dtype)
    return network


def load_model(model: Model, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> GPT2LMHeadModel:
    """A GPT-2 with these parameters; their names must be the model's."""
    loaded = empty_model(model, dtype)
    named = dict(loaded.named_parameters())
    assert named.keys() == weights.keys()
    with torch.no_grad():
        for name, weight in weights.items():
            named[name].copy_(weight)
    return loaded


def labels(chunk: Tensor, target_offset: int) -> dict[str, Tensor]:
    """Inputs of GPT2LMHeadModel for windows (…, T + 1).

    Offset 2 is as in the notebooks: labels that are already shifted, which the model shifts again. Offset 1 gives the
    model the next token for all T positions.
    """
    inputs = {"input_ids": chunk[..., :-1].long(), "labels": chunk[..., 1:].contiguous().long()}
    return inputs | ({"shift_labels": inputs["labels"]} if target_offset == 1 else {})


def train(
    model: GPT2LMHeadModel,
    chunks: Tensor,
    settings: RunSettings,
    after: Callable[[int, GPT2LMHeadModel], None] = lambda step, model: None,
) -> list[dict]:
    """Train with `transformers.Trainer`: `settings` and otherwise its defaults; calls `after(step, model)` every step.

    With `schedule_steps` it stops early, after `steps`.

    Args:
        chunks: windows (steps · B, T + 1) in the order of training.
        settings: the engine's settings of a run.

    Returns the Trainer's own log, one dict per step with `loss`, `grad_norm` and `learning_rate`.
    """
    windows = [labels(chunk, settings.target_offset) for chunk in chunks]

    class After(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            after(state.global_step, model)
            control.should_training_stop |= state.global_step == settings.steps

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, windows, settings, folder, [After()], logging_steps=1)
        trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


def make_trainer(
    model: GPT2LMHeadModel, windows: list, settings: RunSettings, folder: str, callbacks: list, **more
) -> Trainer:
    """A Trainer on `windows`, in their order by default; `more` are TrainingArguments.

    A model that does not say which loss it has is not known to shift its labels, and the Trainer (5.23) divides the
    losses of T − 1 targets by T: `loss_divisor: tokens`.
    """
    model.loss_type = "ForCausalLM" if settings.loss_divisor == "targets" else None
    logging.getLogger("transformers").setLevel(logging.ERROR)
    arguments = {
        "output_dir": folder, "max_steps": settings.schedule_steps or settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay,
        "adam_beta1": settings.betas[0], "adam_beta2": settings.betas[1], "adam_epsilon": settings.epsilon,
        "max_grad_norm": settings.clip, "train_sampling_strategy": "sequential", "remove_unused_columns": False,
        "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True, "seed": 42,
    }  # fmt: skip
    trainer = Trainer(
        model=model, args=TrainingArguments(**arguments | more), train_dataset=windows, callbacks=callbacks
    )
    trainer.remove_callback(next(type(c) for c in trainer.callback_handler.callbacks if "Print" in type(c).__name__))
    return trainer


def draw_windows(token_ids: np.ndarray, context: int, count: int, seed: int) -> Tensor:
    """`count` windows (count, T + 1) of a corpus, drawn without replacement as a DataLoader's RandomSampler does."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randperm(len(token_ids) - context, generator=generator)[:count]
    return torch.from_numpy(token_ids.astype(np.int64))[starts[:, None] + torch.arange(context + 1)]


def settings(**changes) -> RunSettings:
    """The engine's settings of run 1 with the default configuration and these changes; `model` is merged.

    `init` may be a word, as in a configuration file, and `model` a mapping of what differs.
    """
    default = Experiment(init=changes.pop("init", "qwen")).run_settings(1)
    shape = changes.pop("model", {})
    return replace(default, model=shape if isinstance(shape, Model) else replace(default.model, **shape), **changes)
