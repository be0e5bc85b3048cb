"""One file a benchmark, each with `jobs(smoke, seeds)` (see `record`)."""
