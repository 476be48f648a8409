"""Settings: the schema, its loader, the data folder, and every YAML preset."""
