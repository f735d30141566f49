# The image of CPU sandboxes: Python with numpy, scipy and scikit-learn, nothing else. Built by `aar sandbox build`,
# which fills wheels/ from cpu.txt (exact versions, with hashes) on the host, so that the build needs no network and
# no index, proxy or certificate of the host gets into a layer.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements.txt /build/
COPY wheels /build/wheels
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-index --find-links /build/wheels --require-hashes --only-binary :all: \
    -r /build/requirements.txt \
 && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
ARG RECIPE
LABEL org.aar.kind=cpu org.aar.recipe=${RECIPE}
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
USER 10001:10001
WORKDIR /workspace
