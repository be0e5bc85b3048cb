"""Searches that try whole schemes: at random, or guided by Optuna's TPE."""

from collections.abc import Callable

import numpy as np

from embedcomp.compression import refinement
from embedcomp.compression.space import SearchSpace
from embedcomp.table.scheme import Scheme

# A scheme should use most of its budget, or it is at a disadvantage.
_LEAST_SHARE = 0.9
_MAX_DRAWS = 20_000
# Proposals of TPE that are no schemes within budget, for each trial.
_MAX_REFUSED = 500

LossFn = Callable[[Scheme, int], float]


def random_schemes(
  space: SearchSpace, budget: int, num: int, seed: int
) -> list[Scheme]:
  """Schemes with random splits and options that make use of a budget.

  Args:
    space: what there is to draw from.
    budget: bytes.
    num: how many.
    seed: of the draws.

  Returns:
    Schemes of 90 to 100 % of the budget, or the largest ones drawn.

  Raises:
    ValueError: if none of many draws fits.
  """
  rng = np.random.default_rng(seed)
  found: list[refinement.Division] = []
  spare: list[tuple[float, refinement.Division]] = []
  for _ in range(_MAX_DRAWS):
    division = _draw(space, rng)
    num_bytes = _rough_bytes(space, division)
    if num_bytes > budget or space.num_bytes(division) > budget:
      continue
    if num_bytes >= _LEAST_SHARE * budget:
      found.append(division)
      if len(found) == num:
        break
    elif len(spare) < 1000:
      spare.append((num_bytes, division))
  spare.sort(key=lambda pair: -pair[0])
  found += [division for _, division in spare[: num - len(found)]]
  if not found:
    raise ValueError(
      f'none of {_MAX_DRAWS} random schemes fits into {budget} bytes.'
    )
  return [space.scheme(division) for division in found]


def _draw(space: SearchSpace, rng: np.random.Generator) -> refinement.Division:
  most = min(space.max_groups, space.num_bins)
  groups = int(rng.integers(1, most + 1))
  inner = rng.choice(np.arange(1, space.num_bins), groups - 1, replace=False)
  edges = [0, *np.sort(inner).tolist(), space.num_bins]
  options = rng.integers(0, len(space.options), groups)
  return refinement.Division(
    tuple(space.bins[edge] for edge in edges), tuple(options.tolist())
  )


def _rough_bytes(space: SearchSpace, division: refinement.Division) -> float:
  """Bytes up to rounding, much faster than of a scheme."""
  options = list(division.options)
  words = np.diff(division.splits)
  return float(
    words @ space.bytes_per_word[options] + space.shared_bytes[options].sum()
  )


def search_at_random(
  space: SearchSpace, budget: int, loss_fn: LossFn, num: int, seed: int
) -> Scheme:
  """The best of some random schemes by their loss."""
  schemes = random_schemes(space, budget, num, seed)
  losses = [loss_fn(scheme, number) for number, scheme in enumerate(schemes)]
  return schemes[int(np.argmin(losses))]


def search_by_tpe(
  space: SearchSpace, budget: int, loss_fn: LossFn, num: int, seed: int
) -> Scheme:
  """The best of some schemes proposed by a tree-structured Parzen estimator.

  Proposals over the budget cost no training: they are reported to the estimator
  as bad, the more the larger they are.

  Raises:
    ValueError: if no proposal fits.
  """
  import optuna

  optuna.logging.set_verbosity(optuna.logging.WARNING)
  study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
  best, tried = (np.inf, None), 0
  for _ in range(num * _MAX_REFUSED):
    if tried == num:
      break
    trial = study.ask()
    division = _suggest(space, trial)
    num_bytes = _rough_bytes(space, division)
    if num_bytes > budget or space.num_bytes(division) > budget:
      study.tell(trial, 10.0 + float(np.log(num_bytes / budget)))
      continue
    scheme = space.scheme(division)
    loss = loss_fn(scheme, tried)
    study.tell(trial, loss)
    best, tried = min(best, (loss, scheme), key=lambda pair: pair[0]), tried + 1
  if best[1] is None:
    raise ValueError(f'no proposal of TPE fits into {budget} bytes.')
  return best[1]


def _suggest(space: SearchSpace, trial) -> refinement.Division:
  most = min(space.max_groups, space.num_bins)
  groups = trial.suggest_int('groups', 1, most)
  edges = {0, space.num_bins}
  for split in range(groups - 1):
    edges.add(trial.suggest_int(f'split_{split}', 1, space.num_bins - 1))
  by_price = np.argsort(space.bytes_per_word, kind='stable')
  options = [
    int(by_price[trial.suggest_int(f'option_{g}', 0, len(by_price) - 1)])
    for g in range(len(edges) - 1)
  ]
  splits = tuple(space.bins[edge] for edge in sorted(edges))
  return refinement.Division(splits, tuple(options))


PROPOSALS = {'random': search_at_random, 'tpe': search_by_tpe}
