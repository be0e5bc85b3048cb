"""Commands: every number that the project reports comes from one of these."""
