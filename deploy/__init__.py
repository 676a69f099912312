"""The gateway: nginx in front of model workers, started and mended by one supervisor."""
