"""The files of a run that never happened, as a report reads them."""

import json

import numpy as np

from embedcomp import Group, Scheme, data, methods
from embedcomp.methods import describe

BINS = (0, 20, 60, 150, 400, 900, 2000)
OPTIONS = (
  methods.Drop('int8'),
  methods.LowRank(1, 'int4', 'int8'),
  methods.LowRank(2, 'int4', 'int8'),
  methods.LowRank(4, 'int4', 'int8'),
  methods.LowRank(8, 'int4', 'int8'),
  methods.LowRank(16, 'int8', 'int8'),
  methods.DifferentiableNearest(8, 16, 'int8'),
  methods.Dense('int4'),
  methods.Dense('int8'),
  methods.Dense('float32'),
)
BYTES_PER_WORD = (0.0, 0.5, 1.0, 2.0, 4.0, 16.0, 4.0, 18.0, 34.0, 128.0)
SCHEME = Scheme(
  32, (Group(60, OPTIONS[8]), Group(340, OPTIONS[4]), Group(1600, OPTIONS[1]))
)
METHODS = ('search', 'low rank', 'GroupReduce', 'DPQ', 'MGQE', 'tensor train')
SIZES = (0.005, 0.01, 0.02, 0.05)
DENSE = 0.935


def vocabulary():
  """2,000 words by Zipf's law; the first two are padding and unknown."""
  counts = (60_000 / (np.arange(1998) + 3.0)).round().astype(np.int64)
  words = ('<pad>', '<unk>', *(f'word{i}' for i in range(1998)))
  return data.Vocabulary(words, np.array([0, 900, *counts]))


def softmax(logits):
  shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return shares / shares.sum(axis=-1, keepdims=True)


def architecture(steps):
  """Probabilities that start even and end at one outcome each."""
  rng = np.random.default_rng(0)
  best = rng.permutation(len(OPTIONS))[: len(BINS) - 1]
  goals = 5 * np.eye(len(OPTIONS))[best] + rng.normal(
    size=(len(BINS) - 1, len(OPTIONS))
  )
  even, where = np.eye(len(BINS) - 1)[[[0, 2, 3], [1, 3, 5]]]
  lines = []
  for step in steps:
    progress = max(0.0, step / steps[-1] - 0.4)
    lines.append(
      {
        'step': int(step),
        'mixture': softmax(progress * goals).tolist(),
        'splits': softmax(even + 5 * progress * where).tolist(),
        'expected_bytes': 30_000 - 20_000 * progress,
      }
    )
  return lines


def metrics():
  """A log of three training phases."""
  rng = np.random.default_rng(1)
  lines = []
  for stage, last in (('dense', 300), ('search', 400), ('finetune', 200)):
    for step in range(20, last + 1, 20):
      noise = 0.05 * rng.normal()
      line = {'stage': stage, 'step': step, 'loss': 3 / step**0.3 + noise}
      line['accuracy'] = 1 - 1 / step**0.3
      if stage == 'search':
        line |= {
          'held_out_loss': 3.2 / step**0.3 + noise if step > 160 else 0.0,
          'expected_bytes': 40_000 - 60 * max(step - 160, 0),
          'temperature': 0.2 ** (step / last),
          'entropy': 1 - step / last / 2,
          'multiplier': max(0, step - 160) / 100,
        }
      lines.append({**line, 'seconds': 0.1 * step})
  return lines


def comparison():
  """Rows of five seeds, whose searched sizes differ by a few bytes."""
  rng = np.random.default_rng(2)
  rows = []
  for index, label in enumerate(METHODS):
    for ratio in SIZES:
      for seed in range(5):
        size = int(ratio * SCHEME.dense_bytes)
        size -= int(rng.integers(20)) if label == 'search' else 0
        loss = 0.01 * (index + 1) * (0.05 / ratio) ** 0.5
        rows.append(
          {
            'method': label.replace(' ', '_'),
            'label': label,
            'embedding_bytes': size,
            'ratio': size / SCHEME.dense_bytes,
            'metric': 'accuracy',
            'validation': DENSE - loss + 0.004 * rng.normal(),
            'value': DENSE - loss + 0.004 * rng.normal(),
            'seed': seed,
          }
        )
  return {
    'rows': rows,
    'higher_is_better': True,
    'dense_value': DENSE,
    'dense_std': 0.003,
  }


def result():
  return {
    'task': 'r52',
    'split': 'test',
    'metric': 'accuracy',
    'value': 0.9312,
    'dense_value': 0.9351,
    'embedding_bytes': SCHEME.num_bytes,
    'dense_embedding_bytes': SCHEME.dense_bytes,
    'embedding_params': SCHEME.num_params,
    'model_bytes': SCHEME.num_bytes + 8_320,
    'dense_model_bytes': SCHEME.dense_bytes + 8_320,
    'ratio': SCHEME.ratio,
    'seed': 0,
    'steps': 900,
    'seconds': 123.4,
    'device': 'cpu',
    'command': 'python -m experiments.main --config=configs/classify.py',
    'method': 'search',
    'validation': 0.9295,
    'scheme': json.loads(SCHEME.to_json()),
  }


def json_lines(lines):
  return ''.join(json.dumps(line) + '\n' for line in lines)


def write(workdir):
  """Writes all files of a run into a folder."""
  workdir.mkdir(parents=True, exist_ok=True)
  vocabulary().save(workdir / 'vocabulary.json')
  config = {'task': 'classification', 'seed': 0, 'data': {'name': 'r52'}}
  space = {
    'bins': BINS,
    'options': [describe(option) for option in OPTIONS],
    'bytes_per_word': BYTES_PER_WORD,
    'budget': 10_000,
  }
  deciles = {
    'metric': 'loss',
    'edges': [0, 4, 9, 16, 28, 50, 90, 180, 380, 850],
    'dense': np.linspace(0.2, 0.6, 10).tolist(),
    'compressed': np.linspace(0.21, 0.85, 10).tolist(),
  }
  texts = {
    'config.json': json.dumps(config),
    'metrics.jsonl': json_lines(metrics()),
    'scheme.json': SCHEME.to_json(),
    'space.json': json.dumps(space),
    'architecture.jsonl': json_lines(architecture(range(20, 401, 20))),
    'deciles.json': json.dumps(deciles),
    'comparison.json': json.dumps(comparison()),
    'result.json': json.dumps(result()),
  }
  for name, text in texts.items():
    (workdir / name).write_text(text)
  return workdir
