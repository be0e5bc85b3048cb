r"""Tied language modelling: one table embeds words and scores the next one.

  python -m experiments.main --config=configs/language_model.py --workdir=DIR \
      --config.budget=0.1

Variants: `newsgroups` (default; 10,000 words, half a million tokens) and
`smoke`, small and soon done.
"""

from configs import common

VARIANTS = ('newsgroups', 'smoke')


def get_config(variant='newsgroups'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  config = common.get_config('language_model')
  config.data.name = 'newsgroups'
  config.data.min_count = 1
  config.data.max_words = 10_000
  config.data.max_tokens = 500_000
  config.data.max_eval_tokens = 50_000
  config.data.length = 32
  config.data.held_out = 0.02
  config.model.name = 'lstm'
  config.model.hidden_size = 128
  config.model.dropout = 0.1
  config.model.word_dropout = 0.0
  config.optim.learning_rate = 0.005
  config.optim.batch_size = 16
  config.optim.clip = 1.0
  config.optim.epochs = 4.0
  config.search.epochs = 0.5
  # Final training mends roundings, but not codes, which stay as assigned.
  config.search.options = 'rounded'
  # Odds learn too little from so few held-out words: the prior decides alone.
  config.search.score = 'prior'
  config.search.carry = 'dense'
  config.search.weights_learning_rate = 0.003
  config.search.every = 4
  config.search.refresh_every = 400
  config.finetune.epochs = 3.0
  config.finetune.learning_rate = 0.005
  config.budget = 0.1
  if variant == 'smoke':
    config.data.max_words = 500
    config.data.max_tokens = 12_000
    config.data.max_eval_tokens = 2_000
    common.make_small(config)
  return config
