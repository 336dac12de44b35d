"""The statistics: plain functions over counts."""
