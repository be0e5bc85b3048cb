"""Strict settings for all tests: four CPU devices, no rank promotion."""

import os

# Compiling is what tests wait for: their programs, which soon end, are compiled
# in a hurry. EMBEDCOMP_TEST_XLA=default compiles them as users do, for tests
# that look into programs.
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=4',
    ''
    if os.environ.get('EMBEDCOMP_TEST_XLA') == 'default'
    else '--xla_backend_optimization_level=0 '
    '--xla_cpu_use_fusion_emitters=false',
  ]
)
os.environ['JAX_PLATFORMS'] = 'cpu'

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

# Compilation makes the first example slow, so no example has a deadline.
hypothesis.settings.register_profile('default', deadline=None)
hypothesis.settings.load_profile('default')


@pytest.fixture
def rng():
  """A source of random numbers that is the same in every run."""
  return np.random.default_rng(0)
