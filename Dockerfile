# docker build -t remomask .                            for CPUs
# docker build -t remomask --build-arg BUILD=cuda .     for GPUs: docker run --gpus all ...
#
# docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" remomask demo --text_prompt "a person waves"
# docker run --rm -p 7860:7860 remomask app --host 0.0.0.0
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
COPY . /source
RUN pip wheel --quiet --no-deps --wheel-dir /wheel /source

FROM python:${PYTHON}-slim
ARG BUILD=cpu
# Where pip finds PyTorch's build for CPUs, 2 GB smaller than the public one: --build-arg PIP_EXTRA_INDEX_URL=ADDRESS
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements-cpu.lock requirements.lock requirements-app.lock requirements-cuda.lock /locks/
# Versions and hashes are those of the lock files. The public PyTorch for Linux needs CUDA's libraries even on a CPU.
RUN install="pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement"; \
    if [ "$BUILD" = cpu ]; then $install /locks/requirements-cpu.lock || echo "this will be the public PyTorch"; fi \
    && $install /locks/requirements.lock \
    && $install /locks/requirements-app.lock \
    && case "$(pip show torch)" in *"Version: "*+cpu*) ;; *) $install /locks/requirements-cuda.lock ;; esac
COPY --from=wheel /wheel /wheel
RUN pip install --quiet --no-deps /wheel/*.whl && useradd --create-home remomask && mkdir -m 1777 /work
# Caches of whoever runs it.
ENV HOME=/tmp PYTHONUNBUFFERED=1
USER remomask
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["remomask"]
CMD ["--help"]
