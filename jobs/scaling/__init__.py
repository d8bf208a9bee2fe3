"""How many actors each pool should have: pure decisions with reasons."""
