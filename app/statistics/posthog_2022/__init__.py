"""The rule of PostHog in 2022."""
