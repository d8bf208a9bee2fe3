"""Connects to the cluster that the user named, when it is needed and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.profiles import Profile, cluster_address

if TYPE_CHECKING:
    from cluster.submission.ray_jobs import RayJobs


class Connect:
    """The way to a cluster. `named`: None where the user named no cluster at all."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._jobs: RayJobs | None = None
        self.named = self.cluster if address else None

    def cluster(self) -> RayJobs:
        """The cluster's jobs; of the head on this machine where none was named."""
        if self._jobs is None:
            from cluster.submission.ray_jobs import RayJobs  # Ray takes a second

            self._jobs = RayJobs(self._address)
        return self._jobs


def connect_to(address: str | None, profile: Profile) -> Connect:
    """The way to the cluster of `--address`, of the environment, or of a profile."""
    return Connect(cluster_address(address, profile))
