"""A small task that reads rare words alone, whatever is frequent."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from embedcomp import search

V, D, CLASSES = 60, 8, 6
BATCH = 32
# Even ids are frequent, but left out of the sums; odd ones are rare, and tell
# the class of a text.
COUNTS = np.where(np.arange(V) % 2 == 0, 500, 20)


def batch_of(seed):
  """Makes texts of six frequent words and two rare ones of a class."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(CLASSES, size=BATCH)
  frequent = 2 * rng.integers(V // 2, size=(BATCH, 6))
  rare = 12 * rng.integers(V // 12, size=(BATCH, 2)) + 1 + 2 * labels[:, None]
  ids = np.concatenate([frequent, rare], axis=1).astype(np.int32)
  return {'ids': ids, 'labels': labels.astype(np.int32)}


def sum_of(embed, ids):
  """[B, D] sums of the rare words."""
  return (embed(ids) * (ids % 2)[..., None]).sum(1)


DATA = search.SearchData(
  train=[batch_of(seed) for seed in range(8)],
  held_out=[batch_of(seed) for seed in range(100, 104)],
)
CONFIG = search.SearchConfig(
  search.Schedule(num_steps=30),
  search.Finetuning(num_steps=30, learning_rate=1e-2),
  num_bins=5,
  smallest_bin=6,
  max_groups=3,
  options='rounded',
  weights_learning_rate=1e-2,
  refresh_every=10,
)
BUDGET = 0.1


class LinenModel(nn.Module):
  """A classifier around any embedder."""

  embedder: nn.Module

  @nn.compact
  def __call__(self, ids):
    return nn.Dense(CLASSES)(sum_of(self.embedder, ids))


class NnxModel(nnx.Module):
  """The same in NNX, but for the table, which comes with every call."""

  def __init__(self, rngs):
    self.head = nnx.Linear(D, CLASSES, rngs=rngs)

  def __call__(self, embed, ids):
    return self.head(sum_of(embed, ids))


def cross_entropy(logits, labels):
  """Mean over a batch."""
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return losses.mean()


def linen():
  """Loss and params of a linen model whose table is under 'embedder'."""
  variables = LinenModel(nn.Embed(V, D)).init(
    jax.random.key(0), jnp.zeros((1, 8), int)
  )
  params = dict(variables['params'])
  params.pop('embedder')

  def loss_fn(params, embed, batch, key):
    del key
    model = LinenModel(embedder=search.EmbedModule(embed))
    logits = model.apply({'params': params}, batch['ids'])
    return cross_entropy(logits, batch['labels'])

  return loss_fn, params


def nnx_model():
  """Loss and params of an NNX model."""
  graph, params = nnx.split(NnxModel(nnx.Rngs(0)), nnx.Param)

  def loss_fn(params, embed, batch, key):
    del key
    logits = nnx.merge(graph, params)(embed, batch['ids'])
    return cross_entropy(logits, batch['labels'])

  return loss_fn, params


def bare():
  """Loss and params without any module, all logits of a row in one product."""
  params = {'kernel': 0.3 * jnp.eye(D, CLASSES), 'bias': jnp.zeros(CLASSES)}

  def loss_fn(params, embed, batch, key):
    del key
    logits = (
      sum_of(embed, batch['ids']) @ params['kernel'] + params['bias'][None]
    )
    return cross_entropy(logits, batch['labels'])

  return loss_fn, params


@functools.cache
def trained(make_model):
  """Loss, params and table of a dense model that has learned the task."""
  loss_fn, params = make_model()
  table = np.random.default_rng(0).normal(0, 0.5, (V, D)).astype(np.float32)
  optimizer = optax.adam(3e-2)
  model = params, jnp.asarray(table)

  @jax.jit
  def step(model, state, batch):
    def dense_loss(model):
      return loss_fn(model[0], search.DenseEmbedding(model[1]), batch, None)

    updates, state = optimizer.update(jax.grad(dense_loss)(model), state)
    return optax.apply_updates(model, updates), state

  state = optimizer.init(model)
  for number in range(120):
    model, state = step(model, state, DATA.train[number % len(DATA.train)])
  return loss_fn, model[0], np.asarray(model[1])


def held_out_loss(loss_fn, params, embed):
  """Mean over all held-out batches."""
  loss_of = jax.jit(lambda batch: loss_fn(params, embed, batch, None))
  return float(np.mean([loss_of(batch) for batch in DATA.held_out]))


def learn(make_model, config=CONFIG, **changes):
  """Learns a scheme, arguments as they are or changed."""
  loss_fn, params, table = trained(make_model)
  arguments = {
    'loss_fn': loss_fn,
    'params': params,
    'table': table,
    'data': DATA,
    'counts': COUNTS,
    'budget': BUDGET,
    'config': config,
    'progress': False,
    **changes,
  }
  return search.learn(**arguments)
