"""What follows a dataset that is complete: a job file's `after`.

None of it is part of what the job is: no byte of the dataset depends on it, it is not in the job's
id, and `job.json` does not have it. So a dataset, which may be somebody else's, never says what is
run, sent or deleted; the user's own job file does.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from actors.strict import Settings

Command = tuple[Annotated[str, Field(min_length=1)], ...]


class Publish(Settings):
    """Where the complete dataset is published, with its card: as `bottega publish` does."""

    to: Annotated[str, Field(min_length=1)] = Field(
        description="hf://datasets/ORG/NAME, a bucket's URL, or a folder; `{date}` and `{for}` as "
        "in `output`."
    )
    public: bool = Field(
        default=False, description="Whether a repository of the hub that is made is public."
    )
    licence: str | None = Field(
        default=None, description="As the hub names it. Default: the strictest model's."
    )


class Retention(Settings):
    """How many dated outputs stay: `bottega retention` shows which ones would go."""

    keep: int = Field(ge=1, description="The number of finished outputs that stay, the newest.")
    delete: bool = Field(
        default=False,
        description="Delete the others after each run. Without it the log says what would go.",
    )
    of: str | None = Field(
        default=None,
        description="The outputs, with `{date}` or `{for}` where they differ. Default: `output`.",
    )


class After(Settings):
    """What follows the last record, in this order: steps, retention, a hook."""

    verify: bool = Field(
        default=False,
        description="Check every byte, as `bottega verify`; the job fails by what is wrong.",
    )
    publish: Publish | None = Field(default=None, description="Publish the complete dataset.")
    retention: Retention | None = Field(
        default=None, description="Delete old outputs of the same job for other dates."
    )
    on_success: Command | None = Field(
        default=None,
        description="A command, as a list of words, that `bottega run` calls when the job has "
        "ended with exit code 0. Its stdin has the job as `bottega status --json` prints it.",
    )
    on_failure: Command | None = Field(
        default=None, description="The same for every other end but Ctrl-C."
    )
    hook_timeout_seconds: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="A hook that takes longer is killed.",
    )

    @field_validator("on_success", "on_failure", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if value is None or (isinstance(value, list | tuple) and value):
            return value
        raise ValueError(
            "give the command as a list of words, as [./tell.sh, done]; no shell reads it, unless "
            'it is named, as in [sh, -c, "..."]'
        )

    @property
    def steps(self) -> tuple[str, ...]:
        """What a job is not done without, in order, for people and for a comparison."""
        verify = ("verify",) if self.verify else ()
        publish = (f"publish to {self.publish.to}",) if self.publish else ()
        return (*verify, *publish)
