# The image of GPU sandboxes: the CPU image's packages, PyTorch with its CUDA libraries, transformers, accelerate, peft.
# The driver comes from the host through the NVIDIA container toolkit; only the leased devices are visible.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements.txt /build/
COPY wheels /build/wheels
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-index --find-links /build/wheels --require-hashes --only-binary :all: \
    -r /build/requirements.txt \
 && /opt/venv/bin/pip uninstall --yes pip

FROM ${BASE_IMAGE}
ARG RECIPE
LABEL org.aar.kind=gpu org.aar.recipe=${RECIPE}
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /workspace
