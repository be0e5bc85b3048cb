"""What a model is trained for: losses and metrics as sums over a batch."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp.training.steps import Batch, Metrics

CLASSIFICATION, LANGUAGE_MODEL = 'classification', 'language_model'
# By kind of task: the metric and whether more of it is better.
METRICS = {
  CLASSIFICATION: ('accuracy', True),
  LANGUAGE_MODEL: ('perplexity', False),
}


@dataclasses.dataclass(frozen=True)
class Task:
  """A model with its loss: cross-entropy of labels, masked by weights.

  Attributes:
    kind: 'classification' (a label a row) or 'language_model' (one a token).
    model: its `__call__(ids, deterministic=...)` gives logits.
    commitment: weight of the commitment terms that embedders sow.

  Raises:
    ValueError: for another kind.
  """

  kind: str
  model: nn.Module
  commitment: float = 0.25

  def __post_init__(self):
    if self.kind not in METRICS:
      raise ValueError(
        f'a task must be one of {sorted(METRICS)}, got {self.kind!r}.'
      )

  @property
  def metric(self) -> str:
    """'accuracy' or 'perplexity'."""
    return METRICS[self.kind][0]

  @property
  def higher_is_better(self) -> bool:
    """Whether more of the metric is better."""
    return METRICS[self.kind][1]

  def init(self, key: jax.Array, batch: Batch) -> dict[str, Any]:
    """The model's variables, all collections, from noise."""
    ids = jnp.asarray(batch['ids'][:1])
    return jax.jit(self.model.init)(key, ids)

  def loss_fn(
    self, params: Any, collections: Any, batch: Batch, dropout_key: Any
  ) -> tuple[jax.Array, jax.Array, Metrics]:
    """Sums over a batch, for `make_train_step` and `make_eval_step`.

    Args:
      params: of the model.
      collections: its other collections of variables, by name.
      batch: `ids`, `labels` and `weights`.
      dropout_key: None turns dropout off.

    Returns:
      Sum of losses, sum of weights and the sums of what is reported.
    """
    logits, sown = self.model.apply(
      {'params': params, **collections},
      batch['ids'],
      deterministic=dropout_key is None,
      rngs=None if dropout_key is None else {'dropout': dropout_key},
      mutable=['losses'],
    )
    labels, weights = batch['labels'], batch['weights']
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    loss, weight = (losses * weights).sum(), weights.sum()
    sums = {'cross_entropy': loss}
    if self.kind == CLASSIFICATION:
      sums['accuracy'] = ((logits.argmax(-1) == labels) * weights).sum()
    if dropout_key is not None:
      terms = jax.tree.leaves(sown.get('losses', {}))
      loss += self.commitment * weight * sum(terms, jnp.float32(0))
    return loss, weight, sums

  def summarise(self, sums: dict[str, float]) -> dict[str, float]:
    """Means and the metric out of summed sums.

    Args:
      sums: 'weight' and what `loss_fn` reports, over a data set.

    Returns:
      'loss', the mean cross-entropy, and the metric.

    Raises:
      ValueError: if nothing has any weight.
    """
    weight = float(sums['weight'])
    if not weight > 0:
      raise ValueError('there is nothing to evaluate: all weights are zero.')
    loss = float(sums['cross_entropy']) / weight
    if self.kind == CLASSIFICATION:
      return {'loss': loss, 'accuracy': float(sums['accuracy']) / weight}
    return {'loss': loss, 'perplexity': float(np.exp(min(loss, 80.0)))}
