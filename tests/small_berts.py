"""A BERT small enough for tests, and params for it."""

import jax
import numpy as np

import embedcomp
from embedcomp import BertConfig

SIZES = {
  'vocab_size': 20,
  'hidden_size': 12,
  'num_hidden_layers': 2,
  'num_attention_heads': 3,
  'intermediate_size': 16,
  'max_position_embeddings': 9,
}
CONFIG = BertConfig(**SIZES)
IDS = np.array([[2, 5, 6, 3, 0], [2, 9, 8, 7, 3]])


def random_params(model, ids=IDS, *, scale: float = 0.3, seed: int = 0):
  """Params of the shapes that `init` would make, none of them zero or one."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0), ids)['params']
  return jax.tree.map(
    lambda leaf: rng.normal(0, scale, leaf.shape).astype(leaf.dtype), shapes
  )


def write_model(folder, make_model, tokenizer, labels=None, **fields):
  """Writes a model of one layer, so random that texts differ.

  Args:
    folder: where it is written.
    make_model: from a config.
    tokenizer: of its words, `SubwordTokenizer`.
    labels: names of its classes, if it has any.
    **fields: of its config, where it is not the usual one.

  Returns:
    Its params.
  """
  sizes = {
    'vocab_size': len(tokenizer),
    'num_hidden_layers': 1,
    'max_position_embeddings': 64,
    'pad_token_id': tokenizer.pad_id,
  }
  model = make_model(BertConfig(**(SIZES | sizes | fields)))
  params = random_params(model)
  embedcomp.save_pretrained(folder, model, params, labels=labels)
  tokenizer.save(folder)
  return params
