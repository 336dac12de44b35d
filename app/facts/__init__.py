"""From events to counts: series, facts, and their aggregation."""
