"""The licence that a dataset's card proposes: the strictest of its models', as presets name them.

A licence of a model is no licence of its pictures; but several say what may be done with these, and
the strictest is the safe side. Whoever publishes decides, and the card says what was known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.models.presets import CATALOGUE

RANKS = (
    ("apache-2.0", r"^Apache-2\.0( \(gated\))?$"),
    ("mit", r"^MIT$"),
    ("openrail++", r"OpenRAIL\+\+"),
    ("creativeml-openrail-m", r"CreativeML OpenRAIL-M"),
    ("other", r"Stability AI Community"),
    ("cc-by-nc-4.0", r"CC BY-NC 4\.0"),
    ("other", r"non-commercial"),
)
"""The hub's names, from the freest on, and how the presets write them. Between two that both
restrict the use of pictures, the one that asks for less comes first."""

UNKNOWN = len(RANKS)
"""The rank of a licence that the table does not have: nothing is stricter than what nobody read."""


@dataclass(frozen=True, slots=True)
class ModelLicence:
    """A model's licence: `model`, its hub id or what it is; `licence`, as the preset has it."""

    model: str
    licence: str

    @property
    def rank(self) -> int:
        """Its place among RANKS, or UNKNOWN."""
        found = [n for n, (_, pattern) in enumerate(RANKS) if re.search(pattern, self.licence)]
        return min(found, default=UNKNOWN)

    @property
    def hub_name(self) -> str:
        """As the hub writes it."""
        return RANKS[self.rank][0] if self.rank < UNKNOWN else "other"


def licences_of(models: Mapping[str, Any]) -> list[ModelLicence]:
    """The licences of the models in a job.json: of student and teacher, with all their parts."""
    known = {
        source.at: source.licence for preset in CATALOGUE.values() for source in preset.sources
    }
    found: dict[str, ModelLicence] = {}
    for place in _places({role: models[role] for role in ("student", "teacher")}):
        name = public_name(place)
        if place.endswith(_EMBEDDED):
            found[name] = ModelLicence(f"Bottega's embedded {name}", "Apache-2.0")
        else:
            found[name] = ModelLicence(name, known.get(name, "not known to Bottega"))
    return list(found.values())


_EMBEDDED = ("shapes/weights/student", "shapes/weights/teacher", "shapes/weights/control")


def strictest(licences: list[ModelLicence]) -> ModelLicence:
    """The one that permits the least; stand-ins have none, and draw nothing but grey."""
    nothing = ModelLicence("stand-ins", "Apache-2.0")
    return max(licences, key=lambda licence: licence.rank, default=nothing)


def public_name(place: str) -> str:
    """A model's hub id, or the last step of a path: nobody's folders are shown."""
    cached = re.search(r"models--([^/]+)--([^/]+)", place)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", place) and not place.startswith("."):
        return place
    return re.split(r"[/\\]", place.rstrip("/\\"))[-1] or "a model"


def _places(fields: Any) -> Iterator[str]:
    """The paths of models, at any depth."""
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            if name == "path" and isinstance(value, str) and value:
                yield value
            else:
                yield from _places(value)
    elif isinstance(fields, list | tuple):
        for value in fields:
            yield from _places(value)
