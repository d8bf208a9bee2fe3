"""Views of a job, a plan and a preset for a person: text and tables; they decide nothing."""
