"""Holdouts: a share of persons whom all experiments of a holdout keep out."""
