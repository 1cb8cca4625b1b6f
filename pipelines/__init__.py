"""How corpora flow: sources, stages, and Beam at the edge."""
