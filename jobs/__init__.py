"""What a job is and how it goes through: spec, parts, cascade, runner, output."""
