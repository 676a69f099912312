"""How many runs find a better model: search spaces, engines and schedules."""
