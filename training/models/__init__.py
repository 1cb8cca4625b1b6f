"""Architectures and their named sizes."""
