"""Linear classifiers of vectors, to see what these say of their labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.record import Row

_STEPS = 200  # each with all vectors
_LEARNING_RATE, _WEIGHT_DECAY, _DROPOUT = 0.01, 0.1, 0.3


def accuracies(
  train: tuple[np.ndarray, np.ndarray],
  test: tuple[np.ndarray, np.ndarray],
  seed: int,
) -> Row:
  """Trains a classifier on a tenth less than all of the training vectors.

  Args:
    train: [N, D] vectors and [N] labels.
    test: the same of other documents.
    seed: of training, and of the tenth that the best step is selected by.

  Returns:
    Accuracies per cent on that tenth ('validation') and on 'test'.
  """
  mean, deviation = train[0].mean(0), train[0].std(0) + 1e-6
  vectors, others = ((part[0] - mean) / deviation for part in (train, test))
  order = np.random.default_rng(seed).permutation(len(vectors))
  held_out, rest = np.split(order, [len(order) // 10])
  found = _learn(
    (vectors[rest], train[1][rest]),
    ((vectors[held_out], train[1][held_out]), (others, test[1])),
    int(max(train[1].max(), test[1].max())) + 1,
    jax.random.key(seed),
  )
  validation, test_accuracy = 100 * np.asarray(found).T
  best = validation.argmax()
  return {'validation': validation[best], 'test': test_accuracy[best]}


@functools.partial(jax.jit, static_argnums=2)
def _learn(train, others, num_classes: int, key: jax.Array) -> jax.Array:
  """[steps, 2] accuracies of a classifier on two other sets."""
  vectors, labels = train
  optimizer = optax.adamw(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
  params = {
    'kernel': jnp.zeros((vectors.shape[1], num_classes)),
    'bias': jnp.zeros((1, num_classes)),
  }

  def logits_of(params, vectors):
    return vectors @ params['kernel'] + params['bias']

  def loss_fn(params, key):
    kept = jax.random.bernoulli(key, 1 - _DROPOUT, vectors.shape)
    logits = logits_of(params, vectors * kept / (1 - _DROPOUT))
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, labels
    ).mean()

  def step(state, key):
    params, moments = state
    gradient = jax.grad(loss_fn)(params, key)
    updates, moments = optimizer.update(gradient, moments, params)
    params = optax.apply_updates(params, updates)
    found = [
      (logits_of(params, vectors).argmax(-1) == labels).mean()
      for vectors, labels in others
    ]
    return (params, moments), jnp.stack(found)

  state = params, optimizer.init(params)
  return jax.lax.scan(step, state, jax.random.split(key, _STEPS))[1]
