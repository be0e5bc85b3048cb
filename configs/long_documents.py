r"""Long documents: what a BERT reads of them, and with which attention.

  python -m experiments.main --config=configs/long_documents.py --workdir=DIR \
      --config.bert.attention=recursive

Variants:

- `newsgroups` (default): MiniLM-L6 on the documents of 20 Newsgroups that have
  more than 512 word pieces (1,234 for training, 813 for testing), read up to
  4,096; the embeddings and the 4 lower layers are frozen;
- `listops_short`, `listops`: nested lists to be worked out, which a small BERT
  of random weights learns from lists of 8 to 100 tokens (minutes of a CPU), and
  then, by `--config.bert.path=SHORT/model`, from those of Long Range Arena, of
  500 to 2,000 tokens;
- `needle_short`, `needle`: one word of a text says what its label is. MiniLM-L6
  learns that from texts of up to 56 words (minutes of a CPU; a model of random
  weights does not), and then, by `--config.bert.path=SHORT/model`, from texts
  of 1,000 to 2,000 words, or longer ones by `--config.data.length_range`;
- `smoke`: a few short lists, small and soon done.

`newsgroups` is meant for a GPU, and so is `listops` on as many lists as Long
Range Arena has (`--config.data.num_documents=96000,2000,2000
--config.optim.batch_size=32`). Of `experiments.benchmark`, `long_newsgroups`
and `long_listops` train all ways to read with all attentions; `long_documents`
trains none, and `long_needle` none on long texts.

Other ways to read 20 Newsgroups, with no more positions than the model has:

  --config.bert.max_length=512 --config.data.reading=windows
  --config.bert.max_length=512 --config.data.reading=sentences \
      --config.data.buckets=512,

The table of words stays as it is (`method.name` is 'dense');
`--config.method.name=search` compresses it to `--config.budget`.
"""

from configs import common

VARIANTS = (
  'newsgroups',
  'listops_short',
  'listops',
  'needle_short',
  'needle',
  'smoke',
)


def get_config(variant='newsgroups'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  config = common.get_config('classification')
  config.method.name = 'dense'
  config.model.name = 'bert'
  config.budget = '40x'
  # As in `bert_compress`: the prior decides alone, so no data are held out.
  config.search.measured_batches = 60
  config.search.score = 'prior'
  config.search.held_out = False
  config.search.carry = 'dense'
  config.optim.warmup = 0.1
  config.optim.clip = 1.0
  config.optim.weight_decay = 0.01
  config.optim.best_of = 1
  if variant == 'newsgroups':
    _newsgroups(config)
  elif variant in ('needle_short', 'needle'):
    _needle(config, variant == 'needle')
  else:
    _lists(config, variant)
  return config


def _newsgroups(config):
  """A pretrained model on the longest of real texts."""
  config.data.name = 'newsgroups'
  config.data.min_pieces = 513
  config.data.buckets = (1024, 2048, 4096)
  config.bert.path = 'minilm_l6'
  config.bert.max_length = 4096
  config.bert.frozen_layers = 4
  config.bert.remat = True
  config.optim.batch_size = 16
  config.optim.learning_rate = 2e-4
  config.optim.epochs = 8.0
  config.finetune.epochs = 4.0
  config.finetune.learning_rate = 1e-4


def _needle(config, is_long):
  """A pretrained model, which knows what stands beside a word."""
  config.data.name = 'needle'
  config.bert.path = 'minilm_l6'
  config.data.length_range = (1000, 2000) if is_long else (11, 56)
  config.data.num_documents = (400, 100, 300) if is_long else (8000, 300, 300)
  config.data.buckets = (2048,) if is_long else (64,)
  # Tiled, a word and the next one are as far apart as the model has learned.
  config.bert.positions = 'tiled'
  config.bert.max_length = 2048 if is_long else 512
  config.optim.batch_size = 8 if is_long else 32
  config.optim.learning_rate = 3e-5 if is_long else 1e-4
  config.optim.epochs = 1.0


def _lists(config, variant):
  """A small model, of random weights where no `bert.path` is given."""
  config.data.name = 'listops'
  config.bert.path = 'tiny'
  # Tiled, as for needles: what closes a list is some tokens away.
  config.bert.positions = 'tiled'
  config.model.features = 64
  config.model.num_layers = 2
  config.optim.batch_size = 32
  config.optim.learning_rate = 1e-3
  config.optim.epochs = 5.0
  config.finetune.learning_rate = 5e-4
  config.finetune.epochs = 2.0
  config.budget = 0.25
  if variant == 'listops_short':
    config.data.length_range = (8, 100)
    config.data.num_documents = (20_000, 500, 500)
    config.data.buckets = (32, 64, 102)
    config.bert.max_length = 128
  elif variant == 'listops':
    config.data.num_documents = (1_000, 100, 1_000)
    config.data.buckets = (1024, 2048)
    config.bert.max_length = 2048
    config.optim.batch_size = 8
    config.optim.learning_rate = 3e-4
    config.optim.epochs = 1.0
  else:
    _small_lists(config)


def _small_lists(config):
  """A few lists that are short, and chunks that are shorter still."""
  common.make_small(config)
  config.data.length_range = (8, 60)
  config.data.num_documents = (512, 64, 64)
  config.bert.chunk_size = 16
  config.bert.num_summaries = 4
  config.optim.learning_rate = 0.01
  config.optim.best_of = 0
  config.search.measured_batches = 4
  config.budget = 0.25
