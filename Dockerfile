# The image of one service, built from the top of the repository:
#   docker build --build-arg SERVICE=fetch --build-arg PORT=8002 --tag mcp-tool-servers/fetch .
# All services share the layers up to the line "Of one service from here on".
#
# PYTHON_IMAGE may be any image with Python 3.11 to 3.13 and its venv module, by tag or by digest;
# PIP_INDEX_URL a mirror of the package index, which is not kept in the image.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip has an environment of its own, so that images have none.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY requirements-pip.lock requirements.lock requirements.txt /build/
WORKDIR /build
# In the versions and with the hashes of the lock, as everything here.
RUN /opt/pip/bin/pip install --require-hashes -r requirements-pip.lock \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --require-hashes \
        -r requirements.txt -c requirements.lock

FROM packages AS service-packages
ARG SERVICE
# image.lock and image.sh: programs that the service starts, which only its image has to bring.
COPY services/${SERVICE}/requirements.txt services/${SERVICE}/image.* /build/service/
# What comes on top goes to /opt/more, which the image lays over the environment.
RUN touch /build/before \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --require-hashes \
        -r requirements.txt -r service/requirements.txt -c requirements.lock \
    && if [ -e service/image.lock ]; then \
        /opt/pip/bin/pip --python /opt/venv/bin/python install --require-hashes \
            -r service/image.lock && sh service/image.sh /opt/venv; \
    fi \
    && mkdir /opt/more && cd /opt/venv \
    && find . ! -type d -newer /build/before -print0 | tar -c --null -T - | tar -x -C /opt/more

FROM ${PYTHON_IMAGE} AS core
COPY core /app/core
# The files come with the modes of the clone, which may be closed. Their times are no measure of
# whether the compiled ones are right: nothing changes in an image.
RUN chmod -R a+rX /app && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM core AS service
ARG SERVICE
COPY services/${SERVICE} /app/services/${SERVICE}
RUN chmod -R a+rX /app/services \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app/services

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 mcpuser \
    && useradd --uid 10001 --gid mcpuser --no-create-home --shell /usr/sbin/nologin mcpuser \
    && install -d -o mcpuser -g mcpuser -m 700 /var/lib/mcp /home/mcpuser
COPY --from=packages /opt/venv /opt/venv
COPY --from=core /app/core /app/core
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/mcpuser \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MCP_HTTP_SERVER__HOST=0.0.0.0 \
    MCP_HTTP_SERVER__STATE_DIR=/var/lib/mcp
USER mcpuser
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "/app/core/probe.py"]
# It replaces the shell, so that the engine's SIGTERM reaches Python.
CMD ["sh", "-c", "exec python -m services.$MCP_SERVICE"]

# Of one service from here on.
ARG SERVICE
ARG PORT
ARG CONTAINER=mcp-${SERVICE}
COPY --from=service-packages /opt/more /opt/venv
COPY --from=service /app/services /app/services
# It listens on every address of its own network; without a key it refuses to, unless told
# otherwise where the port is published (docker-compose.yml).
ENV MCP_SERVICE=${SERVICE} \
    MCP_HTTP_SERVER__PORT=${PORT} \
    MCP_HTTP_SECURITY__ALLOWED_HOSTS=${CONTAINER},host.docker.internal
EXPOSE ${PORT}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mcp-tool-servers/${SERVICE}" \
    org.opencontainers.image.description="MCP tool server over HTTP and SSE: ${SERVICE}." \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
