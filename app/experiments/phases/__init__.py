"""The phases of an experiment's life: its launch, its schedule, its circuit breakers, and its frozen exposure."""
