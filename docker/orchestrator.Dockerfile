# The orchestrator: the door of the system (HTTP on 8000), which checks, plans, stores and sends work.
FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/build/docker/constraints.txt
WORKDIR /build
# Dependencies first: a change of the code does not install them anew.
COPY pyproject.toml docker/constraints.txt docker/requirements.py docker/
RUN python -m venv /opt/ai-agent \
    && python docker/requirements.py docker/pyproject.toml otel > requirements.txt \
    && /opt/ai-agent/bin/pip install -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY workflows workflows
COPY agents agents
COPY celery_app celery_app
RUN /opt/ai-agent/bin/pip install --no-deps .

FROM python:3.12-slim-bookworm
# Keys and passwords are for the eyes of whoever started Compose: the process has their number.
ARG UID=1000
RUN useradd --uid "$UID" --create-home ai-agent \
    && install -d -o ai-agent /var/lib/ai-agent/artifacts
COPY --from=build /opt/ai-agent /opt/ai-agent
COPY docker/entry.sh /usr/local/bin/
ENV PATH=/opt/ai-agent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AI_AGENT_HOME=/tmp/ai-agent \
    # SIGTERM puts unfinished work back instead of waiting for it.
    REMAP_SIGTERM=SIGQUIT
USER $UID
WORKDIR /home/ai-agent
ENTRYPOINT ["entry.sh"]
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["entry.sh", "healthy"]
