"""Forward and training step of a small BERT beside PyTorch transformers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from experiments.benchmarks import race
from experiments.benchmarks.minilm import minilm_sizes
from experiments.benchmarks.record import Job, Row, num_cores

SEEDS = 2
_ROUNDS = 10
# Texts and tokens of a batch.
_BATCHES = ((32, 32), (32, 64), (8, 256))
# A batch: ids and mask, [B, T] each.
_Batch = tuple[np.ndarray, np.ndarray]


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """A race for each shape of a batch; every seed draws other lengths.

  Weights are random, which changes no time. Steps are a loss, the mean square
  of all hidden states, and its gradients by all params.

  Args:
    smoke: whether to use a small model.
    seeds: draws of texts.
  """
  shapes = ((4, 8),) if smoke else _BATCHES
  sizes = minilm_sizes(smoke)

  def run(num_texts: int, length: int) -> list[Row]:
    inputs = [
      _batch(num_texts, length, sizes['vocab_size'], seed)
      for seed in range(seeds)
    ]
    entered = {'embedcomp': _ours(sizes), **_transformers(sizes)}
    rounds = 2 if smoke else _ROUNDS
    rows = []
    for what in ('forward', 'step'):
      fns = [functions[what] for functions in entered.values()]
      seconds = race.take_turns(fns, inputs, rounds)
      for name, own in zip(entered, seconds):
        rows.append(
          {
            'texts': num_texts,
            'tokens': length,
            'what': what,
            'contestant': name,
            'time_ratio': float(np.median(seconds[0] / own)),
            'milliseconds': 1e3 * float(np.median(own)),
            'rounds': rounds * seeds,
            'cores': num_cores(),
          }
        )
    return rows

  return [
    Job(
      f'{num_texts} x {length}', lambda shape=(num_texts, length): run(*shape)
    )
    for num_texts, length in shapes
  ]


def summary(rows: Sequence[Row]) -> list[Row]:
  """Returns the time of embedcomp over the other's."""
  return [
    {
      'batch': f'{row["texts"]} x {row["tokens"]}',
      'what': row['what'],
      'embedcomp over PyTorch': f'{row["time_ratio"]:.2f}',
    }
    for row in rows
    if row['contestant'] != 'embedcomp'
  ]


def _batch(num_texts: int, length: int, vocab_size: int, seed: int) -> _Batch:
  rng = np.random.default_rng(seed)
  ids = rng.integers(1, vocab_size, (num_texts, length), dtype=np.int32)
  lengths = rng.integers(length // 2, length + 1, num_texts)
  mask = np.arange(length) < np.maximum(lengths, 1)[:, None]
  return np.where(mask, ids, 0), mask


def _ours(sizes: dict[str, Any]) -> dict[str, Callable[[_Batch], Any]]:
  model = Bert(BertConfig(**sizes))
  ids = jnp.zeros((1, 8), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids)['params']

  def hidden(params, batch):
    return model.apply({'params': params}, *batch).last_hidden_state

  forward = jax.jit(hidden)
  step = jax.jit(
    jax.value_and_grad(lambda *args: jnp.square(hidden(*args)).mean())
  )
  return {
    'forward': lambda batch: forward(params, batch),
    'step': lambda batch: step(params, batch),
  }


def _transformers(sizes: dict[str, Any]) -> dict[str, dict[str, Callable]]:
  """PyTorch's, unless it is absent."""
  try:
    import torch
    import transformers
  except ModuleNotFoundError:
    return {}
  torch.set_num_threads(num_cores())
  model = transformers.BertModel(transformers.BertConfig(**sizes)).eval()

  def hidden(batch):
    ids, mask = (torch.from_numpy(array.astype(np.int64)) for array in batch)
    return model(input_ids=ids, attention_mask=mask).last_hidden_state

  def forward(batch):
    with torch.inference_mode():
      return hidden(batch)

  def step(batch):
    model.zero_grad(set_to_none=True)
    hidden(batch).square().mean().backward()

  return {'PyTorch transformers': {'forward': forward, 'step': step}}
