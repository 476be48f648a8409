"""XTuner itself, in an environment of its own: configs from presets, its own tools, its adapters for the chat."""
