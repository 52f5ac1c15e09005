# Two images: `lookup` answers over HTTP, `batch` computes (and serves MLflow in Compose).
# No RUN --mount and no heredocs, so that builders without BuildKit can build it too.

# this tag may move to another image; PYTHON_IMAGE can name a digest instead
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS base
# libraries cache files in HOME, and the root file system may be read-only
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# a new volume that is mounted on one of these folders takes its owner
RUN useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner=app --group=app data mlruns

# pip installs only files whose hash is in the list, and only wheels: building a source
# package would run code, and fetch tools that no list names.
FROM base AS lookup-packages
COPY lookup/requirements.txt lookup.txt
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --require-hashes \
    --only-binary :all: -r lookup.txt

FROM base AS lookup
COPY --from=lookup-packages /venv /venv
COPY lookup lookup
# numbers, because a check that an image does not run as root cannot look up names
USER 10001:10001
EXPOSE 8000
# /ready, not /health: healthy means that the API can recommend
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-IS", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "lookup"]
CMD ["--host", "0.0.0.0"]

FROM lookup-packages AS batch-packages
COPY batch/requirements.txt batch.txt
# the packages' own tests are a tenth of their size
RUN pip --python /venv/bin/python install --no-cache-dir --require-hashes \
    --only-binary :all: -r batch.txt \
    && find /venv -type d -name tests -prune -exec rm -r {} +

FROM base AS batch
# MLflow would look for git, which the image does not have. numba keeps compiled code in
# a volume, where later runs find it.
ENV GIT_PYTHON_REFRESH=quiet NUMBA_CACHE_DIR=/app/data/numba
COPY --from=batch-packages /venv /venv
COPY sql sql
COPY lookup lookup
COPY batch batch
USER 10001:10001
ENTRYPOINT ["python", "-m", "batch"]
CMD ["run"]
