# A worker: runs agents and registered Celery tasks.
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY docker/constraints.txt docker/constraints.txt
COPY workflows workflows
COPY agents agents
COPY celery_app celery_app
RUN pip install --no-cache-dir -c docker/constraints.txt . && useradd --system ai-agent \
    && install -d -o ai-agent /var/lib/ai-agent/artifacts
USER ai-agent
# SIGTERM puts unfinished work back instead of waiting for it.
ENV REMAP_SIGTERM=SIGQUIT
ENTRYPOINT ["celery", "-A", "celery_app", "worker", "--loglevel=INFO"]
