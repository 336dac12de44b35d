"""Who is asking: personal API keys and what they open."""
