"""Speech: sentences to audio. It knows nothing of chains, models or personas."""
