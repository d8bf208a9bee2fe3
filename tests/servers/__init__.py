"""Real servers for tests, on loopback, started once for each test session."""
