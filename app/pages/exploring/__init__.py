"""Other looks at the same data: another baseline, another level, one metric by day or by a property."""
