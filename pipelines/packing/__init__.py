"""How kept documents become token shards: what `pipelines.pack` is made of."""
