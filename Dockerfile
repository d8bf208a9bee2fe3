# An image of Bottega for a Ray cluster: docs/kubernetes.md, or `docker.image` of ray_config.yaml.
#
#     docker build --tag registry.example.org/bottega:0.1.0 .
#
# torch's wheels bring CUDA's libraries; the nodes bring the driver. Weights are not in the image: they
# come from the hub, or from a volume, when an actor loads.
FROM python:3.11.14-slim-bookworm

# KubeRay's probes ask with wget; `ray` looks at processes with ps. Debian keeps one version of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends procps wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/bottega
COPY pyproject.toml constraints.txt README.md LICENSE bottega.py ./
COPY actors actors
COPY jobs jobs
COPY cluster cluster
# Every version is the one that the tests ran with.
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && rm -rf /opt/bottega/build

# Not root: Ray runs what it is asked to run.
RUN useradd --create-home --uid 1000 ray
USER 1000
WORKDIR /home/ray
RUN bottega --help > /dev/null && ray --version
