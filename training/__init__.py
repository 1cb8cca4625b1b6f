"""How shards become models: stream, objectives, models, trainer, evaluation. Never imports Beam."""
