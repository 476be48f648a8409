"""From a persona to a tested adapter: data, fine-tune, evaluation and merge."""
