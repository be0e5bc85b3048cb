"""Programs that are compiled in a hurry."""

import functools

import jax

# Compiling is nearly all that many tests wait for.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
