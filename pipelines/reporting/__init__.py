"""How the report is gathered and written: what `pipelines.report` is made of."""
