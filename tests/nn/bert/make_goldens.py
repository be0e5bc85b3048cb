"""Computes with PyTorch what the models of `bert_cases` should.

  pip install -e '.[parity]'
  python tests/nn/make_bert_goldens.py

writes goldens/bert.npz again. Nothing of our own is compared here.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from tests.nn.bert import cases as bert_cases

CLASSES = {
  None: 'AutoModel',
  'classification': 'AutoModelForSequenceClassification',
  'token_classification': 'AutoModelForTokenClassification',
  'masked_lm': 'AutoModelForMaskedLM',
}


def build(model_case: bert_cases.Case):
  """A model of transformers with the case's numbers; its tensors' shapes."""
  import torch
  import transformers
  from safetensors.numpy import load_file

  fields = model_case.config
  if 'id2label' in fields:
    fields['id2label'] = dict(fields['id2label'])
  config = transformers.AutoConfig.for_model(**fields)
  kind = getattr(transformers, CLASSES[model_case.head])
  model = kind.from_config(config, attn_implementation='eager').eval()
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    written = load_file(Path(folder) / 'model.safetensors')
  shapes = {name: list(array.shape) for name, array in written.items()}
  tensors = bert_cases.make_tensors(shapes)
  with torch.no_grad():
    state = model.state_dict()
    for name, array in tensors.items():
      state[name].copy_(torch.from_numpy(array))
  return model, shapes


def outputs_and_gradients(model, ids, mask, types, real):
  """Outputs by name and gradients by tensor, as those of `bert_cases`."""
  import torch

  given = {'input_ids': ids, 'attention_mask': mask, 'token_type_ids': types}
  given = {
    name: torch.from_numpy(np.asarray(array, np.int64))
    for name, array in given.items()
    if array is not None
  }
  found = model(**given, output_hidden_states=True, output_attentions=True)
  outputs = {
    name: found[name]
    for name in ('last_hidden_state', 'pooler_output', 'logits')
    if name in found
  }
  if 'logits' not in outputs:
    for name in ('hidden_states', 'attentions'):
      outputs[name] = torch.stack(found[name])
  model.zero_grad()
  bert_cases.probed(outputs, real, torch).backward()
  gradients = {
    name: parameter.grad.numpy()
    for name, parameter in model.named_parameters()
    if parameter.grad is not None
  }
  return {k: v.detach().numpy() for k, v in outputs.items()}, gradients


def load_minilm(folder):
  """MiniLM-L6 as transformers reads it."""
  import transformers

  return transformers.AutoModel.from_pretrained(
    folder, attn_implementation='eager'
  ).eval()


def summary(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Some entries of each array, and which is which."""
  names = sorted(arrays)
  rows = [bert_cases.some_entries(arrays[name]) for name in names]
  return {'names': np.array(json.dumps(names)), 'entries': np.stack(rows)}


def main():
  from embedcomp.data import minilm_l6

  goldens = {}
  for name, model_case in bert_cases.CASES.items():
    model, shapes = build(model_case)
    outputs, gradients = outputs_and_gradients(
      model, *bert_cases.make_inputs(model_case)
    )
    goldens[f'{name}/shapes'] = np.array(json.dumps(shapes))
    goldens |= {f'{name}/outputs/{key}': outputs[key] for key in outputs}
    for key, array in summary(gradients).items():
      goldens[f'{name}/gradients/{key}'] = array
  outputs, gradients = outputs_and_gradients(
    load_minilm(minilm_l6()), *bert_cases.minilm_inputs()
  )
  for key, array in summary(outputs | gradients).items():
    goldens[f'minilm/{key}'] = array
  np.savez_compressed(bert_cases.GOLDENS, **goldens)


if __name__ == '__main__':
  main()
