"""Fine-tuning a VITS voice on recordings: check and prepare them, train with coqui-tts's trainer, hand over a voice."""
