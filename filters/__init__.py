"""What is worth keeping: pure functions over Arrow batches. No Beam, no I/O, no torch."""
