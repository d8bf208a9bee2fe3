"""A Ray that Bottega starts."""

from __future__ import annotations

import os

import ray

from jobs import Resources

IDLE_SECONDS = 2.5
"""Ray's own limit is one second."""


def test_the_process_of_a_file_task_stays_though_all_cores_are_promised(
    ray_here: Resources,
) -> None:
    """As they are to actors where there is no GPU. A new process would cost each file a second."""

    class Core:
        def ready(self) -> None:
            pass

    class Never:
        def come(self) -> None:
            os.read(os.pipe()[0], 1)

    cores = [ray.remote(Core).options(num_cpus=1).remote() for _ in range(int(ray_here.cpus))]
    never = ray.remote(Never).options(num_cpus=0).remote()
    file_task = ray.remote(num_cpus=0)(lambda: os.getpid())
    try:
        ray.get([core.ready.remote() for core in cores])
        first = ray.get(file_task.remote())
        assert ray.wait([never.come.remote()], timeout=IDLE_SECONDS)[0] == []
        assert ray.get(file_task.remote()) == first
    finally:
        for actor in (*cores, never):
            ray.kill(actor)
