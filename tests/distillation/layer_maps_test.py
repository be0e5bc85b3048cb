"""Layer maps against the examples of their papers."""

import pytest

from embedcomp.distillation import (
  LAYER_MAPS,
  identity_map,
  last_map,
  skip_map,
  uniform_map,
)


@pytest.mark.parametrize(
  ('layer_map', 'student', 'teacher', 'teachers'),
  [
    (identity_map, 4, 4, (1, 2, 3, 4)),
    (uniform_map, 4, 12, (3, 6, 9, 12)),
    (uniform_map, 3, 6, (2, 4, 6)),
    (uniform_map, 1, 6, (6,)),
    # Sun et al. 2019, section 3.2: five layers of a student of six.
    (skip_map, 6, 12, (2, 4, 6, 8, 10)),
    (last_map, 6, 12, (7, 8, 9, 10, 11)),
    (skip_map, 3, 12, (4, 8)),
    (last_map, 3, 12, (10, 11)),
    (last_map, 4, 6, (3, 4, 5)),
  ],
)
def test_layers_are_those_of_the_papers(layer_map, student, teacher, teachers):
  pairs = layer_map(student, teacher)
  assert pairs == tuple(enumerate(teachers, start=1))


@pytest.mark.parametrize('name', LAYER_MAPS)
@pytest.mark.parametrize(('student', 'teacher'), [(2, 2), (3, 6), (4, 12)])
def test_layers_rise_within_both_models(name, student, teacher):
  if name == 'identity':
    teacher = student
  students, teachers = zip(*LAYER_MAPS[name](student, teacher))
  assert students == tuple(range(1, len(students) + 1))
  assert len(students) == student - name.startswith('pkd')
  assert sorted(set(teachers)) == list(teachers)
  assert teachers[0] >= 1
  assert teachers[-1] <= teacher


@pytest.mark.parametrize('layer_map', [uniform_map, skip_map, last_map])
def test_maps_between_equal_depths_are_the_identity(layer_map):
  pairs = layer_map(5, 5)
  assert pairs == identity_map(5, 5)[: len(pairs)]


@pytest.mark.parametrize(
  ('layer_map', 'student', 'teacher', 'rule'),
  [
    (identity_map, 3, 6, 'of one depth, got 3 and 6'),
    (uniform_map, 4, 6, "divide the teacher's evenly, got 4 and 6"),
    (skip_map, 5, 12, "divide the teacher's evenly, got 5 and 12"),
    (skip_map, 1, 12, 'needs 2 or more, got 1'),
    (last_map, 1, 12, 'needs 2 or more, got 1'),
    *[(f, 0, 12, 'at least 1 layer') for f in LAYER_MAPS.values()],
    *[(f, 12, 6, 'no more than its teacher') for f in LAYER_MAPS.values()],
  ],
)
def test_depths_that_do_not_fit_are_refused(layer_map, student, teacher, rule):
  with pytest.raises(ValueError, match=rule):
    layer_map(student, teacher)
