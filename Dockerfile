# Seatline and what it needs, for every service of docker-compose.yml that runs it: Ray nodes, the API, `seatline db`.
# Built from a checkout: docker build -t seatline .

ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY scripts/tools.lock scripts/
RUN pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r scripts/tools.lock
RUN uv venv --quiet /opt/seatline
# What changes seldom comes first, so that a change of the code rebuilds little.
COPY requirements-nodes.lock ./
RUN uv pip sync --quiet --python /opt/seatline --only-binary :all: --require-hashes requirements-nodes.lock
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY allocator allocator
COPY api api
COPY bench bench
COPY cluster cluster
COPY persistence persistence
RUN uv build --quiet --wheel --build-constraints requirements.lock --require-hashes --out-dir dist \
    && uv pip install --quiet --python /opt/seatline --no-deps dist/*.whl

FROM python:${PYTHON}
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin seatline
COPY --from=build /opt/seatline /opt/seatline
# RAY_*: those of cluster/processes/deployment.py.
ENV PATH=/opt/seatline/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_AUTH_MODE=token \
    RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0 \
    RAY_worker_num_grpc_internal_threads=1 \
    RAY_timeout_ms_task_wait_for_death_info=100 \
    RAY_core_worker_internal_heartbeat_ms=100 \
    RAY_health_check_period_ms=1000 \
    RAY_health_check_timeout_ms=3000 \
    RAY_gcs_rpc_server_reconnect_timeout_s=600 \
    AUTOSCALER_METRIC_PORT=-1 \
    SEATLINE_HOME=/home/seatline/home
USER seatline
WORKDIR /home/seatline
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT []
CMD ["seatline", "--help"]
