"""What every folder may import: errors, ids, timestamps, JSON text, limits."""
