"""OFREP, the protocol by which providers of OpenFeature evaluate flags, and the exposures that it leaves to others."""
