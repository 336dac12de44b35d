"""The engine for counts that come from anywhere: analysis and planning without any event."""
