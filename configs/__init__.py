"""Configs of experiments; each file has a `get_config(variant)`."""
