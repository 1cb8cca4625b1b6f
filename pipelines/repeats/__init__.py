"""Text that repeats across kept documents: lines, paragraphs, sentences, spans of words."""
