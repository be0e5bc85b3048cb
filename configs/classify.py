r"""Text classification with compressed word embeddings.

  python -m experiments.main --config=configs/classify.py --workdir=DIR \
      --config.data.name=r52 --config.budget=0.01

Variants (`configs/classify.py:NAME`): `r52` (default), `r8`, `newsgroups`, each
with tuned settings, and `smoke`, small and soon done.
"""

from configs import common

VARIANTS = ('r52', 'r8', 'newsgroups', 'smoke')


def get_config(variant='r52'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  config = common.get_config('classification')
  if variant == 'smoke':
    config.data.name = 'r8'
    config.data.max_documents = 600
    config.data.min_count = 3
    common.make_small(config)
    return config
  config.data.name = variant
  if variant == 'newsgroups':
    config.data.min_count = 5
    config.model.pools = ('mean', 'max')
    config.optim.learning_rate = 0.02
    config.optim.epochs = 6.0
    config.search.epochs = 2.0
    config.search.weights_learning_rate = 0.005
    config.finetune.epochs = 6.0
    config.finetune.learning_rate = 0.01
  elif variant == 'r8':
    config.optim.learning_rate = 0.03
    config.optim.epochs = 8.0
    config.finetune.learning_rate = 0.015
  return config
