"""Objects, tables, shards and manifests. Imports nothing from pipelines or training."""
