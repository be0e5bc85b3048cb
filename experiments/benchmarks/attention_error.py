"""Errors of attentions with few keys against dense attention, untrained.

MiniLM-L6 reads documents of 20 Newsgroups, its positions interpolated. Windows
read as many keys as the recursive attention that they are named after. Errors
are norms of differences over norms of what dense attention gives: of the
attention of each layer, all fed by the dense model, and of the states that come
out of a model whose layers all have that attention.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import data as data_lib
from embedcomp._internal.progress import track
from embedcomp.attention.dot_product import dense_attention
from embedcomp.nn.bert.encoder import Bert
from embedcomp.nn.sparse_attention import LocalAttention, RecursiveAttention
from experiments.benchmarks.attention_speed import window_like
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import tiny_bert

SEEDS = 3
_LENGTHS = (1024, 2048, 4096)
_DOCUMENTS = 4  # of each seed
_SIZES = ((256, 16), (128, 16), (32, 8))  # chunks and summaries


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each length and each seed, which draws other documents.

  Args:
    smoke: whether to use a small model and short texts.
    seeds: draws of documents.
  """
  lengths = (64,) if smoke else _LENGTHS
  sizes = ((8, 4),) if smoke else _SIZES

  def run(length: int, seed: int) -> list[Row]:
    folder, texts = _made_up() if smoke else _real()
    model, params = embedcomp.from_pretrained(folder, max_length=length)
    documents = _documents(folder, texts, max(lengths), seed)
    rows = []
    for ids in track(documents, f'{length} tokens', unit='document'):
      ids = jnp.asarray(ids)[None, :length]
      rows += _compared(model, params, ids, _entries(length, sizes))
    return [{'tokens': length, 'seed': seed, **row} for row in rows]

  return [
    Job(f'{length}, seed {seed}', functools.partial(run, length, seed))
    for length in lengths
    for seed in range(seeds)
  ]


def _real() -> tuple[Path, Sequence[str]]:
  """The directory of a model, and texts."""
  texts = data_lib.load('newsgroups').splits['train'].texts
  return data_lib.minilm_l6(), texts


def _made_up() -> tuple[Path, Sequence[str]]:
  dataset = data_lib.load(
    'needle', length_range=(70, 80), num_documents=(8, 1, 1), progress=False
  )
  texts = dataset.splits['train'].texts
  return tiny_bert.folder(texts, whole_words=True), texts


def _documents(folder, texts, length: int, seed: int) -> list[np.ndarray]:
  """Pieces of random documents that have at least so many."""
  tokenizer = data_lib.SubwordTokenizer.load(folder)
  found = []
  for row in np.random.default_rng(seed).permutation(len(texts)):
    if len(texts[row]) < 2 * length:  # characters
      continue
    (encoded,) = tokenizer.encode([texts[row]], max_length=length)
    if len(encoded.ids) == length:
      found.append(encoded.ids)
    if len(found) == _DOCUMENTS:
      return found
  raise ValueError(f'fewer than {_DOCUMENTS} documents have {length} pieces.')


def _entries(length: int, sizes) -> dict[str, Callable[..., jax.Array]]:
  """Attentions by name."""
  entries = {}
  for chunk_size, num_summaries in sizes:
    recursive = RecursiveAttention(chunk_size, num_summaries=num_summaries)
    name = f'C = {chunk_size}, P = {num_summaries}'
    entries[f'recursive, {name}'] = recursive
    entries[f'window like {name}'] = window_like(recursive, length)
    local = -(-recursive.pattern.num_keys(length) // 16) * 16
    entries[f'shifted local like {name}'] = (
      LocalAttention(local),
      LocalAttention(local, shift=local // 2),
    )
  return entries


def _compared(model: Bert, params, ids, entries) -> list[Row]:
  inputs, dense = _layers(model, params, ids)
  rows = []
  for name, attention_fn in entries.items():
    turns = attention_fn if isinstance(attention_fn, tuple) else (attention_fn,)
    errors = [
      _relative(_jitted(turns[layer % len(turns)])(*arrays), wanted)
      for layer, (arrays, wanted) in enumerate(inputs)
    ]
    hidden = _hidden(model.clone(attention_fn=attention_fn), params, ids)
    pooled = [np.asarray(states[0]).mean(axis=0) for states in (hidden, dense)]
    rows.append(
      {
        'attention': name,
        'keys': turns[0].pattern.num_keys(ids.shape[1]),
        'layer_errors': errors,
        'layer_error': float(np.mean(errors)),
        'hidden_error': _relative(hidden, dense),
        'pooled_cosine': float(
          pooled[0] @ pooled[1] / np.prod([*map(np.linalg.norm, pooled)])
        ),
      }
    )
  return rows


def _layers(model: Bert, params, ids):
  """Returns inputs of each layer's attention, and the last hidden states."""
  seen = []

  def recorded(query, key, value, mask=None, **dropout):
    attended = dense_attention(query, key, value, mask, **dropout)
    seen.append(((query, key, value), attended))
    return attended

  # Not jitted, so that arrays are seen.
  dense = model.clone(attention_fn=recorded).apply({'params': params}, ids)
  return seen, dense.last_hidden_state


@functools.cache
def _jitted(attention_fn: Callable[..., jax.Array]):
  return jax.jit(attention_fn)


@functools.partial(jax.jit, static_argnums=0)
def _hidden(model: Bert, params, ids) -> jax.Array:
  return model.apply({'params': params}, ids).last_hidden_state


def _relative(found: jax.Array, wanted: jax.Array) -> float:
  return float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))


def summary(rows: Sequence[Row]) -> list[Row]:
  """Means and deviations over documents, by length."""
  found = {}
  for row in rows:
    key = row['tokens'], row['attention'], row['keys']
    found.setdefault(key, []).append(row)
  return [
    {
      'tokens': f'{tokens:,}',
      'attention': name,
      'keys': keys,
      **{
        field.replace('_', ' '): mean_and_deviation(
          [row[field] for row in group], 3
        )
        for field in ('layer_error', 'hidden_error', 'pooled_cosine')
      },
    }
    for (tokens, name, keys), group in found.items()
  ]
