"""How the best model reaches its users: registration, promotion and history."""
