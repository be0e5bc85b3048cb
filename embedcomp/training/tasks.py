"""Tasks of models: losses and metrics of batches.

The fields of a batch are those of `embedcomp.data.batches`. Kinds of tasks:

  kind            the model's output       loss            metric
  classification  logits [B, classes]      cross-entropy   accuracy
  language_model  logits [B, T, V]         cross-entropy   perplexity
  masked_lm       logits [B, P, V]         cross-entropy   perplexity
  regression      logits [B, 1]            squared error   Spearman's r
  similarity      vectors [B, D] of texts  squared error   Spearman's r
  distillation    vectors [B, D] of texts  1 - cosine      cosine

A similarity is the cosine of the vectors of two texts; its labels lie in
[-1, 1]. Distillation needs no labels: the vectors are compared with those of a
teacher. The kinds in `TAUGHT` may have a teacher beside their labels.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp.distillation import PROJECTION, Objective
from embedcomp.nn.bert.outputs import OUTPUTS_COLLECTION, ModelOutputs
from embedcomp.training.steps import ROWS, Batch, Metrics

CLASSIFICATION, LANGUAGE_MODEL = 'classification', 'language_model'
MASKED_LM, REGRESSION, SIMILARITY = 'masked_lm', 'regression', 'similarity'
DISTILLATION = 'distillation'
# By kind of task: the metric and whether more of it is better.
METRICS = {
  CLASSIFICATION: ('accuracy', True),
  DISTILLATION: ('cosine', True),
  LANGUAGE_MODEL: ('perplexity', False),
  MASKED_LM: ('perplexity', False),
  REGRESSION: ('spearman', True),
  SIMILARITY: ('spearman', True),
}
# Those that may have a teacher, whose outputs are then in the batch.
TAUGHT = (CLASSIFICATION, DISTILLATION, REGRESSION)


@dataclasses.dataclass(frozen=True)
class Task:
  """Model with its loss, weighted by `weights`.

  Attributes:
    kind: one of `METRICS`.
    model: its `__call__(ids, deterministic=...)` gives the output. It gets also
      `token_type_ids` where a batch has token types, and `mask_positions`
      of a 'masked_lm'.
    commitment: weight of the commitment terms that embedders sow.
    objective: what is learned from a teacher, whose outputs batches then have
      under 'teacher', see `embedcomp.distillation.TaughtBatches`; None learns
      from labels alone. Without labels (`share` 1) there is no dropout. What is
      evaluated by labels needs no teacher: the loss is then that of the labels.

  Raises:
    ValueError: for another kind, or one that cannot have a teacher.
  """

  kind: str
  model: nn.Module
  commitment: float = 0.25
  objective: Objective | None = None

  def __post_init__(self) -> None:
    if self.kind not in METRICS:
      raise ValueError(
        f'a task must be one of {sorted(METRICS)}, got {self.kind!r}.'
      )
    if self.kind == DISTILLATION and self.objective is None:
      raise ValueError('distillation needs a teacher: give an objective.')
    if self.kind not in TAUGHT and self.objective is not None:
      raise ValueError(
        f'a task with a teacher must be one of {TAUGHT}, got {self.kind!r}.'
      )

  @property
  def metric(self) -> str:
    """Name of the metric: 'accuracy', 'perplexity', 'spearman' or 'cosine'."""
    return METRICS[self.kind][0]

  @property
  def higher_is_better(self) -> bool:
    """True if more of the metric is better."""
    return METRICS[self.kind][1]

  def init(self, key: jax.Array, batch: Batch) -> dict[str, Any]:
    """Initialises the model.

    Args:
      key: of the noise.
      batch: as of `loss_fn`; only the shape of its ids counts.

    Returns:
      The model's variables, all collections.
    """
    ids = jnp.asarray(batch['ids'][:1])
    return jax.jit(self.model.init)(key, ids)

  def loss_fn(
    self, params: Any, collections: Any, batch: Batch, dropout_key: Any
  ) -> tuple[jax.Array, jax.Array, Metrics]:
    """Computes the loss of a batch; a `steps.LossFn`.

    Args:
      params: of the model; beside them may stand a 'projection' of its features
        to those of a teacher of another width.
      collections: its other collections of variables, by name.
      batch: `ids`, `labels`, `weights` and what else the kind needs.
      dropout_key: None turns dropout off.

    Returns:
      Sum of losses, sum of weights and what is reported; see `steps.LossFn`.

    Raises:
      ValueError: if the model's output does not suit the kind, or a teacher is
        missing.
    """
    objective = self.objective if 'teacher' in batch else None
    is_evaluated = dropout_key is None and self.kind != DISTILLATION
    if self.objective and objective is None and not is_evaluated:
      raise ValueError(
        'a task with an objective needs batches with a teacher: see '
        'embedcomp.distillation.TaughtBatches.'
      )
    ids, inputs = self._inputs(batch)
    output, sown = self.model.apply(
      {'params': params, **collections},
      ids,
      **inputs,
      deterministic=dropout_key is None or self._only_copies,
      rngs=None if dropout_key is None else {'dropout': dropout_key},
      mutable=['losses', OUTPUTS_COLLECTION] if objective else ['losses'],
    )
    projection = params.get(PROJECTION)
    losses = self._losses(output, batch, projection)
    loss, metrics = (losses * batch['weights']).sum(), {}
    if self.kind in (REGRESSION, SIMILARITY):
      metrics['squared_error'] = loss
      metrics[ROWS] = {'predictions': self._predictions(output)}
      metrics[ROWS] |= {name: batch[name] for name in ('labels', 'weights')}
    elif self.kind == DISTILLATION:
      metrics['distance'] = loss
    else:
      metrics['cross_entropy'] = loss
    if self.kind == CLASSIFICATION:
      is_right = output.argmax(-1) == batch['labels']
      metrics['accuracy'] = (is_right * batch['weights']).sum()
    weight = batch['weights'].sum()
    if objective is not None:
      outputs = ModelOutputs.from_variables(output, sown)
      taught, parts = objective.value(
        outputs, batch['teacher'], self._seen(batch), dropout_key, projection
      )
      share = objective.share
      loss = (1 - share) * loss + share * weight * taught
      metrics |= {name: weight * part for name, part in parts.items()}
    if dropout_key is not None:
      terms = jax.tree.leaves(sown.get('losses', {}))
      loss += self.commitment * weight * sum(terms, jnp.float32(0))
    return loss, weight, metrics

  @property
  def _only_copies(self) -> bool:
    """True if the teacher is all there is to learn from."""
    return self.objective is not None and self.objective.share == 1

  def _seen(self, batch: Batch) -> jax.Array:
    """[B, T] bool, the tokens that a student copies a teacher's states of."""
    is_token = batch['ids'] != self.model.config.pad_token_id
    counts = batch['weights'] > 0
    return is_token & counts[:, None]

  def losses(self, variables: Any, batch: Batch) -> jax.Array:
    """Computes the loss of each label, without dropout.

    Args:
      variables: of the model, all collections.
      batch: as of `loss_fn`.

    Returns:
      float32 losses in the shape of the labels, not multiplied by weights.
    """
    ids, inputs = self._inputs(batch)
    output: Any = self.model.apply(variables, ids, **inputs)
    projection = variables.get('params', {}).get(PROJECTION)
    return self._losses(output, batch, projection)

  def drawn_log_likelihood(
    self, variables: Any, batch: Batch, key: Any, *, chance: float = 0.0
  ) -> jax.Array:
    """Computes the log-likelihood of labels drawn from the model itself.

    Numbers are drawn from normal distributions of variance one around what the
    model predicts. For `embedcomp.search.sensitivity`.

    Args:
      variables: of the model, all collections.
      batch: as of `loss_fn`; its labels are not read.
      key: of the draws.
      chance: share of the labels that are drawn alike from all there are: a
        model that is sure of all its training data would seem to depend on no
        word.

    Returns:
      [] float32, summed by weight; only its gradient means something.

    Raises:
      ValueError: if `chance` is not a share.
    """
    if not 0 <= chance <= 1:
      raise ValueError(f'chance must be between 0 and 1, got {chance}.')
    ids, inputs = self._inputs(batch)
    output: Any = self.model.apply(variables, ids, **inputs)
    if self.kind == DISTILLATION:
      # Half the squared length of a change of them is one minus the cosine.
      units = _units(output.astype(jnp.float32))
      drawn = (units * jax.random.normal(key, units.shape)).sum(-1)
    elif self.kind in (REGRESSION, SIMILARITY):
      predictions = self._predictions(output)
      # The slope at a draw is its distance from the prediction.
      drawn = predictions * jax.random.normal(key, predictions.shape)
    else:
      probs = jax.lax.stop_gradient(jax.nn.softmax(output))
      probs = (1 - chance) * probs + chance / probs.shape[-1]
      labels = jax.random.categorical(key, jnp.log(probs))
      log_probs = jax.nn.log_softmax(output)
      drawn = jnp.take_along_axis(log_probs, labels[..., None], -1)[..., 0]
    return (drawn * batch['weights']).sum()

  def _inputs(self, batch: Batch) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the arguments of the model: ids, and others by name."""
    ids, others = jnp.asarray(batch['ids']), {}
    if 'token_types' in batch:
      others['token_type_ids'] = batch['token_types']
    if self.kind == MASKED_LM:
      others['mask_positions'] = batch['mask_positions']
    if self.kind == SIMILARITY:
      # Side by side, so that both texts of a row are on one device.
      ids = jnp.stack([ids, batch['pair_ids']], axis=1)
      ids = ids.reshape(-1, ids.shape[-1])  # [2B, T]
    return ids, others

  def _losses(
    self, output: jax.Array, batch: Batch, projection: Any
  ) -> jax.Array:
    """Computes the loss of each label, before weights."""
    if self.kind in (REGRESSION, SIMILARITY):
      return jnp.square(self._predictions(output) - batch['labels'])
    if self.kind == DISTILLATION:
      if projection is not None:
        output = output @ projection
      vectors = output, batch['teacher'].output
      own, teachers = (_units(v.astype(jnp.float32)) for v in vectors)
      return 1 - (own * teachers).sum(-1)
    return optax.softmax_cross_entropy_with_integer_labels(
      output, batch['labels']
    )

  def _predictions(self, output: jax.Array) -> jax.Array:
    """Returns [B] float32 numbers that labels are compared with."""
    output = output.astype(jnp.float32)
    if self.kind == SIMILARITY:
      pairs = _units(output.reshape(-1, 2, output.shape[-1]))  # [B, 2, D]
      return (pairs[:, 0] * pairs[:, 1]).sum(-1)
    if output.ndim != 2 or output.shape[1] != 1:
      raise ValueError(
        f'a regression needs one logit a row, got {list(output.shape)}.'
      )
    return output[:, 0]

  def summarise(self, sums: dict[str, Any]) -> dict[str, float]:
    """Computes means and the metric of a data set.

    Args:
      sums: 'weight' and what `loss_fn` reports, as sums over a data set, or as
        means of weight 1, and all rows.

    Returns:
      'loss', the mean without commitment terms, and the metric; of real
      numbers also 'pearson'. A series that is constant, in the predictions or
      the labels, has no correlation with any other: 0.

    Raises:
      ValueError: if nothing has any weight.
    """
    weight = float(sums['weight'])
    if not weight > 0:
      raise ValueError('there is nothing to evaluate: all weights are zero.')
    if self.kind in (REGRESSION, SIMILARITY):
      rows = {name: np.asarray(row) for name, row in sums[ROWS].items()}
      counts = rows['weights'] > 0
      loss = float(sums['squared_error']) / weight
      return {'loss': loss} | _correlations(
        rows['predictions'][counts], rows['labels'][counts]
      )
    if self.kind == DISTILLATION:
      distance = float(sums['distance']) / weight
      return {'loss': distance, 'cosine': 1 - distance}
    loss = float(sums['cross_entropy']) / weight
    if self.kind == CLASSIFICATION:
      return {'loss': loss, 'accuracy': float(sums['accuracy']) / weight}
    return {'loss': loss, 'perplexity': float(np.exp(min(loss, 80.0)))}


def _correlations(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
  """Computes Spearman's and Pearson's r of two series, [N] real numbers."""
  import scipy.stats  # takes half a second to import

  first, second = (np.asarray(x, np.float64) for x in (first, second))
  if np.ptp(first) == 0 or np.ptp(second) == 0:
    return {'spearman': 0.0, 'pearson': 0.0}
  return {
    'spearman': float(scipy.stats.spearmanr(first, second).statistic),
    'pearson': float(scipy.stats.pearsonr(first, second).statistic),
  }


def _units(vectors: jax.Array) -> jax.Array:
  """Scales [..., D] to length one; fillers have none, and finite gradients."""
  squares = jnp.square(vectors).sum(-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
