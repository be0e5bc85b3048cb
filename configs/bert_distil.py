r"""A BERT whose word embeddings are compressed, taught by the one it was.

  python -m experiments.main --config=configs/bert_distil.py --workdir=DIR \
      --config.bert.path=MODEL --config.data.name=TEXTS --config.budget=40x

searches and trains with plain text: the student's sentence vectors and hidden
states are compared with those of MODEL, and no label is read. With

  --config=configs/bert_distil.py:task --config.distil.teacher=TEACHER

it learns from a teacher that has been trained for the labels, such as
`DIR/model` of a run with `--config.method.name=dense`; from labels, too, where
`--config.distil.share` is less than 1.

Variants: `general` (default), `task` (classification), `kept` (plain text; the
table of `bert.path` is compressed already and trained on as it is), `long` and
`smoke`.

`long` teaches a model with recursive attention and positions for 2,048 tokens
to say of long texts what MODEL says of them in windows of 512, the positions
that it was trained with; its table stays dense.
"""

from configs import bert_compress

VARIANTS = ('general', 'task', 'kept', 'long', 'smoke')


def get_config(variant='general'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  small = variant == 'smoke'
  config = bert_compress.get_config('smoke' if small else 'classification')
  config.finetune.epochs = 1.0
  config.optim.best_of = 0 if small else 4
  config.optim.table_rate = 20.0
  # What is measured on a text tells nothing of the words that it lacks.
  config.search.by_counts = 1.0
  if variant == 'task':
    # What labels say the teacher knows, and it is copied without dropout.
    config.distil.logits = 1.0
    return config
  config.task = 'distillation'
  config.distil.teacher = 'itself'
  config.distil.sentence = 10.0
  config.distil.embeddings = 1.0
  config.distil.similarities = 10.0
  config.data.reading = 'apart'
  config.data.name = 'r8' if small else 'newsgroups'
  config.data.buckets = (32,) if small else (16, 28, 64)
  config.data.held_out = 0.02
  config.data.validation = 0.02
  config.optim.epochs = 0.0  # the model as it comes is the dense one
  config.optim.batch_size = 16 if small else 64
  config.search.measured_chance = 0.0
  if small:
    config.distil.relation_heads = 2
    config.finetune.learning_rate = 5e-4
  if variant == 'kept':
    config.method.name = 'kept'
    config.compare_dense = False
  if variant == 'long':
    _long(config)
  return config


def _long(config):
  """A student with few keys and many positions, of a teacher in windows."""
  config.method.name = 'dense'
  config.bert.attention = 'recursive'
  config.bert.max_length = 2048
  config.bert.remat = True
  config.distil.attention = 'windows'
  config.distil.chunk_size = 512
  config.distil.positions = 'tiled'
  config.data.reading = 'first'
  config.data.min_pieces = 513
  config.data.buckets = (1024, 2048)
  config.optim.epochs = 1.0
  config.optim.batch_size = 4
  config.optim.learning_rate = 3e-5
