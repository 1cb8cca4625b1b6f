"""How duplicates are found, verified and resolved: what `pipelines.dedup` is made of."""
