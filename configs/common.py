"""Fields that all experiments share, each with what it means."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(task: str) -> ConfigDict:
  """Defaults, tuned on R52; for `task` see `embedcomp.training.tasks`."""
  config = ConfigDict()
  config.task = task
  config.seed = 0  # of everything that is random

  # How the table is made smaller: see `experiments/strategies.py`.
  config.method = ConfigDict()
  # 'search', or a baseline: 'dense', 'uniform', 'hand_split', 'mgqe',
  # 'compress', 'bins', 'random', 'tpe'; or 'kept', a BERT that is compressed
  # already and trained on as it is.
  config.method.name = 'search'
  # 'uniform': a method for all words, its size by the budget ('low_rank', 'pq',
  # 'dpq_vq', 'tensor_train', ...), or one config ("low_rank(rank=16)").
  config.method.option = 'low_rank'
  # 'uniform' and 'hand_split': how factors are stored.
  config.method.storage = 'float32'
  # 'uniform', 'hand_split', 'mgqe': train them from 'noise' (`optim`), or fit
  # them to a trained 'dense' model and go on as the search does (`finetune`).
  config.method.start = 'noise'

  # Largest size of the table: a share (0.01), a factor ('100x') or bytes.
  config.budget = placeholder(object)
  config.budget = 0.01
  # Instead of a budget: the largest drop of the validation metric (accuracy, or
  # relative perplexity) below the dense model; the smallest size that keeps it.
  config.tolerance = placeholder(float)
  # Whether to train the dense model first, to compare with.
  config.compare_dense = True

  config.data = ConfigDict()
  # 'r52', 'r8', 'newsgroups', 'listops', 'needle', a name of TensorFlow
  # Datasets, or a folder or file of text; see `embedcomp.data.load`.
  config.data.name = 'r52'
  config.data.text_field = placeholder(str)  # columns, by name or number
  config.data.pair_field = placeholder(str)  # second text, of a BERT's pairs
  config.data.label_field = placeholder(str)
  config.data.label_scale = 1.0  # real labels are divided by it
  config.data.min_count = 2  # words that occur less often are unknown
  config.data.max_words = placeholder(int)  # size of the vocabulary
  config.data.max_documents = placeholder(int)  # of each split
  # 'listops' and 'needle': words of a text (least, most), and how many texts
  # (training, validation, test); the generator's own if not given.
  config.data.length_range = placeholder(tuple)
  config.data.num_documents = placeholder(tuple)
  # A BERT's documents have so many pieces or more, others are left out.
  config.data.min_pieces = 0
  # What a BERT reads of documents beyond the last bucket: 'first', the start;
  # 'sentences', some at random, others in each epoch; 'fixed_sentences', always
  # the same; 'windows', each by itself, their features pooled; 'apart', each
  # sentence as a text of its own (distillation only).
  config.data.reading = 'first'
  config.data.window = 512  # tokens; buckets are multiples of it, or smaller
  config.data.buckets = (64, 256)  # lengths; longer documents are cut
  config.data.validation = 0.1  # share of training documents, to select by
  # Share that sizes learn from; no weights do before the final training.
  config.data.held_out = 0.1
  config.data.max_tokens = placeholder(int)  # language models: for training
  config.data.max_eval_tokens = placeholder(int)  # for each evaluation split
  config.data.length = 32  # language models: tokens of a row

  config.model = ConfigDict()
  config.model.name = 'pooled'  # 'cnn', 'transformer'; 'lstm'; 'bert'
  config.model.features = 64  # of a word vector
  config.model.hidden_size = 64  # of 'transformer' and 'lstm'
  config.model.num_layers = 1
  config.model.pools = ('mean',)  # of 'pooled': 'mean', 'max'
  config.model.window_pool = 'mean'  # of windows of a BERT: 'mean', 'max'
  config.model.dropout = 0.3
  config.model.word_dropout = 0.3

  config.bert = ConfigDict()  # where model.name is 'bert'
  # A directory, or 'minilm_l6' (fetched with pip), or 'tiny' (random weights).
  config.bert.path = 'minilm_l6'
  config.bert.dtype = 'float32'  # of the arithmetic; or 'bfloat16'
  # 'dense', 'recursive', 'sliding_window', 'local' (layers take turns with two
  # shifts), 'windows' (all in one place), whatever the directory says; see
  # `embedcomp.nn.sparse_attention`.
  config.bert.attention = 'dense'
  config.bert.chunk_size = 256  # tokens; shorter than two of them is dense
  # 'recursive': keys that stand for a far block, levels of blocks (as many as a
  # text has use for if not given), and whether layers learn params of theirs.
  config.bert.num_summaries = 16
  config.bert.num_levels = placeholder(int)
  config.bert.learned_summaries = False
  # Tokens to have positions for. A table that has fewer is made longer, which
  # changes what short texts read, too: take no more than the data need.
  config.bert.max_length = placeholder(int)
  config.bert.positions = 'interpolated'  # how; or 'tiled'
  # Compute each layer again for the gradient: less memory, one more forward
  # pass of time.
  config.bert.remat = False
  # Embeddings and so many lower layers are not trained, nor is the table as
  # long as it is dense; -1: the whole encoder. 0: all is trained.
  config.bert.frozen_layers = 0

  # What a BERT learns from a teacher; see `embedcomp.distillation.Objective`.
  config.distil = ConfigDict()
  # A directory with a dense or a packed model, whose pieces are the same and
  # whose width need not be; or 'itself', the model of `bert.path` as it comes.
  # None: from labels alone.
  config.distil.teacher = placeholder(str)
  # What the teacher attends with, as `bert.attention`; its chunks and its way
  # to positions, those of `bert` if not given.
  config.distil.attention = 'dense'
  config.distil.chunk_size = placeholder(int)
  config.distil.positions = placeholder(str)
  # Layers of the student, which start from those of the teacher that
  # `layer_map` ('identity', 'uniform', 'pkd_skip', 'pkd_last') pairs them with;
  # as many as `bert.path` has if not given.
  config.distil.layers = placeholder(int)
  config.distil.layer_map = 'identity'
  # Weights of losses; 0 leaves one out.
  config.distil.embeddings = 0.0
  config.distil.hidden = 1.0
  config.distil.relations = 0.0
  config.distil.relation_heads = 12
  config.distil.sentence = 0.0
  config.distil.similarities = 0.0
  config.distil.logits = 0.0
  config.distil.temperature = 1.0
  config.distil.share = 1.0  # of the loss; the rest is that of labels
  # Share of the pieces that any others replace in a copy of each text, which is
  # read beside it: batches are then twice as large. 0 makes no copies.
  config.distil.replaced = 0.0
  # A folder that keeps what the teacher says, instead of asking it in each
  # epoch; batches are then those of the first epoch, in other orders.
  config.distil.cache = placeholder(str)

  config.optim = ConfigDict()
  config.optim.learning_rate = 0.04  # Adam; warm-up, then linearly to zero
  config.optim.warmup = 0.05  # share of the steps
  config.optim.epochs = 12.0
  config.optim.batch_size = 128  # over all devices
  config.optim.clip = 0.0  # largest norm of a gradient; 0 does not clip
  config.optim.weight_decay = 0.0  # of kernels, as in AdamW
  config.optim.table_rate = 1.0  # of a compressed table, times the others'
  config.optim.accumulate = 1  # batches that an update averages over
  # Keep the params that were best on validation data, seen so often an epoch;
  # 0 keeps the last ones.
  config.optim.best_of = 0

  config.search = ConfigDict()
  # 'dense': from a dense model that is trained on all but the held-out data;
  # 'noise': a supernet from nothing, without all that the dense model tells.
  config.search.start = 'dense'
  # Words by how much the dense model needs them ('sensitivity'), or by
  # 'frequency'. Also of 'random' and 'tpe'.
  config.search.order = 'sensitivity'
  config.search.measured_batches = 100  # at most, to find that out from
  # Share of labels drawn alike from all, not from the model: classifiers end up
  # sure of their training data, language models do not.
  config.search.measured_chance = 0.3 if task == 'classification' else 0.0
  # How much of what words cost is not as measured but as their counts say, on a
  # scale of logarithms: for models that were trained on other texts.
  config.search.by_counts = 0.0
  config.search.epochs = 4.0  # over the data that weights learn from
  config.search.weights_learning_rate = 0.01  # the highest, of the supernet
  config.search.num_bins = 12  # between which splits may lie
  config.search.max_groups = 6
  # 'all'; 'rounded': no codes, which stay as they were assigned while the
  # final training changes all else; 'learned_codes': codes that do change;
  # 'low_rank': ranks alone, in float32; 'precision': bits alone; 'contextual':
  # all and codes of coefficients, where the prior alone decides.
  config.search.options = 'all'
  config.search.warmup = 0.0  # share of steps before logits learn
  config.search.learning_rate = 0.1  # of the logits of splits and options
  config.search.every = 1  # steps between two updates of the logits
  config.search.temperature = (1.0, 0.2)
  config.search.entropy = 0.02
  config.search.penalty = 1.0  # of bytes over the budget, squared
  config.search.multiplier_rate = 0.01
  config.search.refresh_every = 100  # steps between assignments of codes
  # What decides: options as measured on the dense table ('prior'), what the
  # logits learned ('learned'), or 'both'; how strong the prior then is: the
  # logit that all of the expected loss amounts to.
  config.search.score = 'both'
  config.search.prior = 10.0
  # Where the final training starts: 'dense' (that model's table, fitted to the
  # scheme), 'supernet' (its weights) or 'noise'.
  config.search.carry = 'supernet'
  config.search.held_out = True  # or let sizes learn from training data
  # 'exact', or 'argmax': the likeliest option of each bin (score 'learned').
  config.search.discretize = 'exact'
  config.search.trials = 8  # of 'random' and 'tpe'

  config.finetune = ConfigDict()
  config.finetune.epochs = 12.0
  config.finetune.learning_rate = 0.02

  config.run = ConfigDict()
  config.run.log_every = 20  # steps
  config.run.checkpoint_every = 200
  config.run.parallel = 'jit'  # or 'pmap'
  config.run.tensorboard = False
  return config


def make_small(config: ConfigDict) -> None:
  """Sizes of a `smoke` variant."""
  config.model.features = 16
  config.model.hidden_size = 16
  config.data.buckets = (64,)
  config.optim.batch_size = 32
  config.optim.epochs = 2.0
  config.search.epochs = 2.0
  config.search.num_bins = 4
  config.search.max_groups = 3
  config.search.refresh_every = 10
  config.finetune.epochs = 1.0
  config.run.log_every = 10
  config.run.checkpoint_every = 20
  config.budget = 0.05
