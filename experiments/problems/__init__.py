"""Problems to solve: made from a config."""

from ml_collections import ConfigDict

from embedcomp import data as data_lib
from embedcomp.training import tasks
from experiments.problems import bert_problem, word_problems
from experiments.problems.problem import Problem

__all__ = ['Problem', 'load_texts', 'make_problem']

_MAKERS = {
  tasks.CLASSIFICATION: word_problems.classification,
  tasks.LANGUAGE_MODEL: word_problems.language_modelling,
}


def make_problem(config: ConfigDict, *, progress: bool = True) -> Problem:
  """Loads the data of a config and divides it.

  Args:
    config: see `configs/common.py`.
    progress: whether to show progress.

  Returns:
    The problem.

  Raises:
    ValueError: if the data or a setting is not usable; says why.
  """
  if config.model.name != 'bert' and config.task not in _MAKERS:
    raise ValueError(
      f'task must be one of {sorted(_MAKERS)}, or model.name bert, '
      f'got {config.task!r}.'
    )
  dataset = load_texts(config, progress=progress)
  if config.model.name == 'bert':
    return bert_problem.word_pieces(config, dataset)
  return _MAKERS[config.task](config, dataset)


def load_texts(
  config: ConfigDict, *, progress: bool = True
) -> data_lib.TextDataset:
  """Loads the data of a config; arguments and errors of `make_problem`."""
  return data_lib.load(
    config.data.name,
    data_lib.Fields(
      text_field=config.data.text_field,
      pair_field=config.data.pair_field,
      label_field=config.data.label_field,
      real_labels=config.task in (tasks.REGRESSION, tasks.SIMILARITY),
    ),
    length_range=config.data.length_range,
    num_documents=config.data.num_documents,
    progress=progress,
  )
