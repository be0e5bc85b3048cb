"""Products in a traced program."""

import jax
from jax.extend import core


def dot_precisions(function, *arguments) -> set:
  """The precisions of all products of a function, in inner programs too."""
  found = set()
  pending = [jax.make_jaxpr(function)(*arguments).jaxpr]
  while pending:
    for equation in pending.pop().eqns:
      if equation.primitive.name == 'dot_general':
        found.add(equation.params['precision'])
      pending.extend(core.jaxprs_in_params(equation.params))
  return found
