"""The learned search: splits, sizes and methods under a byte budget."""

from embedcomp.search.controller import Controller, Schedule
from embedcomp.search.embeddings import (
  CompressedEmbedding,
  DenseEmbedding,
  Embedding,
  EmbedModule,
)
from embedcomp.search.input_metric import measure_metric
from embedcomp.search.learn import Searched, SearchResult, learn
from embedcomp.search.option_search import (
  OptionSearch,
  StartingPoint,
  search_space,
)
from embedcomp.search.search_config import SearchConfig
from embedcomp.search.searcher import (
  Decision,
  Finetuning,
  RefreshedStep,
  SearchData,
  Searcher,
  SearchProblem,
  set_up,
)
from embedcomp.search.sensitivity import Sensitivity, measure_sensitivity

__all__ = [
  'CompressedEmbedding',
  'Controller',
  'Decision',
  'DenseEmbedding',
  'EmbedModule',
  'Embedding',
  'Finetuning',
  'OptionSearch',
  'RefreshedStep',
  'Schedule',
  'SearchConfig',
  'SearchData',
  'SearchProblem',
  'SearchResult',
  'Searched',
  'Searcher',
  'Sensitivity',
  'StartingPoint',
  'learn',
  'measure_metric',
  'measure_sensitivity',
  'search_space',
  'set_up',
]
