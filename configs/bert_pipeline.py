r"""A whole BERT made small: trained, compressed, taught, adapted, written.

  python -m experiments.main --config=configs/bert_pipeline.py --workdir=DIR \
      --config.path=MODEL --config.data=glue/sst2 --config.budget=40x

goes through stages, each a run of its own in `DIR/STAGE`, with a config of its
own in `config.STAGE` (`--config.task.finetune.epochs=3`):

  teacher  MODEL is fine-tuned for the labels of `config.data`
  general  MODEL's words are compressed by a search that knows plain text alone
           (`config.text`), taught by MODEL itself
  task     the words are compressed, if they are not yet, and the teacher trains
           what is left
  long     attention becomes recursive and positions are made for long texts,
           taught by the teacher that reads these in windows

and writes `DIR/model`, with int8 weights, a model card, and `DIR/result.json`
with what that directory does on the test split. `long` is left out unless
`--config.stages` names it, for texts that are worth it; `teacher` and `task`
have to be there.

Variants: `classification` (default) and `smoke`, small and soon done.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import bert_compress, bert_distil

VARIANTS = ('classification', 'smoke')


def get_config(variant='classification'):
  """The config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(f'variant must be one of {VARIANTS}, got {variant!r}.')
  small = variant == 'smoke'
  config = ConfigDict()
  config.stages = 'teacher,general,task' + (',long' if small else '')
  config.path = 'tiny' if small else 'minilm_l6'
  config.data = 'r8' if small else 'glue/sst2'
  config.text = 'r8' if small else 'newsgroups'
  config.budget = placeholder(object)  # a share, a factor or bytes
  config.budget = '4x' if small else '40x'
  config.seed = 0
  config.weights = 'int8'  # of what is written; or 'float32'
  config.licence = 'unknown'  # of MODEL, for the model card
  first = 'smoke' if small else 'sst2'
  config.teacher = bert_compress.get_config(first)
  config.teacher.method.name = 'dense'
  config.general = bert_distil.get_config('smoke' if small else 'general')
  config.general.compare_dense = False
  config.task = _task(small)
  config.long = _task(small)
  config.long.bert.attention = 'recursive'
  config.long.bert.max_length = 256 if small else 2048
  config.long.bert.chunk_size = 32 if small else 256
  config.long.bert.remat = True
  config.long.distil.attention = 'windows'
  config.long.distil.chunk_size = 64 if small else 512
  config.long.distil.positions = 'tiled'
  config.long.data.buckets = (256,) if small else (512, 1024, 2048)
  config.long.optim.batch_size = 16
  config.long.finetune.epochs = 1.0
  config.long.finetune.learning_rate = 0.005 if small else 3e-5
  for stage in ('teacher', 'general', 'task', 'long'):
    source = 'text' if stage == 'general' else 'data'
    config[stage].bert.path = config.get_ref('path')
    config[stage].data.name = config.get_ref(source)
    config[stage].budget = config.get_ref('budget')
    config[stage].seed = config.get_ref('seed')
  return config


def _task(small):
  """A student of a teacher that knows the labels."""
  config = bert_distil.get_config('task')
  config.compare_dense = False
  config.optim.epochs = 0.0  # it starts from the teacher or from a student
  if small:
    config.data = bert_compress.get_config('smoke').data
    config.optim.batch_size = 32
    config.optim.best_of = 0
    config.optim.table_rate = 1.0
    config.finetune.epochs = 2.0
    config.finetune.learning_rate = 0.01
    config.run.log_every = 10
    config.search.num_bins = 4
  return config
