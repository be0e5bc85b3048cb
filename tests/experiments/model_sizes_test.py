"""Sizes of a model's parts, by hand."""

import numpy as np

from experiments.model_sizes import size_table


def test_layers_are_one_part_and_floats_take_four_bytes():
  weights = {name: np.zeros(size) for name, size in zip('abcde', range(1, 6))}
  params = {
    'embedder': {'group_0': {'codes': np.zeros(100, np.uint8)}},
    'bert': {
      'embeddings': {'norm': {'scale': weights['a']}},
      'layer_0': {'kernel': weights['b']},
      'layer_1': {'kernel': weights['c'], 'bias': weights['d']},
    },
    'classifier': {'kernel': weights['e'].astype(np.float16)},
  }
  table = size_table(params, 1000, 100)
  assert [tuple(row.values()) for row in table] == [
    ('word embeddings', 1000, 100),
    ('other embeddings', 4, 4),
    ('layers', 36, 36),
    ('classifier', 20, 20),
    ('whole model', 1060, 160),
  ]
