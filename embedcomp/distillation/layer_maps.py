"""Layer maps: the layer of a deeper teacher that each layer learns from.

Layers count from 1, as in `hidden_states` of a `BertOutput`, whose number 0 is
the output of the embeddings; that one is not part of a map.

References:
  Sun et al., Patient Knowledge Distillation for BERT, EMNLP 2019 (PKD).
  Jiao et al., TinyBERT, Findings of EMNLP 2020.
"""

from collections.abc import Callable

# Pairs (layer of the student, layer of the teacher), from below.
LayerMap = tuple[tuple[int, int], ...]


def identity_map(student_layers: int, teacher_layers: int) -> LayerMap:
  """Pairs each layer with that of the same number.

  Args:
    student_layers: number of layers of the student.
    teacher_layers: the same number.

  Returns:
    A pair for each layer.

  Raises:
    ValueError: if the models differ in depth.

  Example:
    >>> identity_map(3, 3)
    ((1, 1), (2, 2), (3, 3))
  """
  _check_depths(student_layers, teacher_layers)
  if student_layers != teacher_layers:
    raise ValueError(
      'the identity map needs models of one depth, got '
      f'{student_layers} and {teacher_layers} layers: take another map.'
    )
  return tuple((layer, layer) for layer in range(1, student_layers + 1))


def uniform_map(student_layers: int, teacher_layers: int) -> LayerMap:
  """Pairs layers with every k-th one, the last with the last (TinyBERT).

  Args:
    student_layers: number of layers of the student.
    teacher_layers: a multiple of it.

  Returns:
    A pair for each layer of the student.

  Raises:
    ValueError: if depths do not divide.

  Example:
    >>> uniform_map(4, 12)
    ((1, 3), (2, 6), (3, 9), (4, 12))
  """
  _check_depths(student_layers, teacher_layers)
  if teacher_layers % student_layers:
    raise ValueError(
      "the student's layers must divide the teacher's evenly, got "
      f'{student_layers} and {teacher_layers}: take last_map, or as many '
      f'layers as divide {teacher_layers}.'
    )
  every = teacher_layers // student_layers
  return tuple((layer, layer * every) for layer in range(1, student_layers + 1))


def skip_map(student_layers: int, teacher_layers: int) -> LayerMap:
  """Pairs layers below the last one with every k-th one (PKD-Skip).

  The last layer learns from the loss of the head.

  Args:
    student_layers: number of layers of the student, at least 2.
    teacher_layers: a multiple of it.

  Returns:
    A pair for each layer of the student but the last.

  Raises:
    ValueError: if depths do not divide, or nothing is below the last layer.

  Example:
    >>> skip_map(6, 12)
    ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))
  """
  pairs = uniform_map(student_layers, teacher_layers)
  _check_inner(student_layers)
  return pairs[:-1]


def last_map(student_layers: int, teacher_layers: int) -> LayerMap:
  """Pairs layers below the last one with those below the last one (PKD-Last).

  The last layer learns from the loss of the head.

  Args:
    student_layers: number of layers of the student, at least 2.
    teacher_layers: no fewer.

  Returns:
    A pair for each layer of the student but the last.

  Raises:
    ValueError: if the student is deeper, or nothing is below its last layer.

  Example:
    >>> last_map(6, 12)
    ((1, 7), (2, 8), (3, 9), (4, 10), (5, 11))
  """
  _check_depths(student_layers, teacher_layers)
  _check_inner(student_layers)
  above = teacher_layers - student_layers
  return tuple((layer, layer + above) for layer in range(1, student_layers))


# By the names that configs give them.
LAYER_MAPS: dict[str, Callable[[int, int], LayerMap]] = {
  'identity': identity_map,
  'pkd_last': last_map,
  'pkd_skip': skip_map,
  'uniform': uniform_map,
}


def _check_depths(student_layers: int, teacher_layers: int) -> None:
  if not 1 <= student_layers <= teacher_layers:
    raise ValueError(
      'a student must have at least 1 layer and no more than its teacher, got '
      f'{student_layers} and {teacher_layers}.'
    )


def _check_inner(student_layers: int) -> None:
  if student_layers < 2:
    raise ValueError(
      'PKD leaves out the last layer, so that a student needs 2 or more, got '
      f'{student_layers}: take uniform_map.'
    )
