"""How a job, a plan and a preset look to a person: text and tables, nothing decided."""
