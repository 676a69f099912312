"""The door to MLflow: runs that are opened once, resumed, and end with their true status."""
