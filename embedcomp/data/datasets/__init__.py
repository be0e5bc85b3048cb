"""Data sets by name: built in, generated, or of TensorFlow Datasets."""
