"""From documents to passages: loaders, splitter, manifest, and the incremental pipeline that writes the index."""
