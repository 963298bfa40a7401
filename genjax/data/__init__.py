"""Data: sources of examples, the batch plan, and the readers that carry it out."""
