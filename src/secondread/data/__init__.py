"""Many images: sources, manifest, split, audit, store and feed."""
