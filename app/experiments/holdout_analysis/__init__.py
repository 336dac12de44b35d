"""The analysis of a holdout: held-out persons against everybody else who met its flags."""
