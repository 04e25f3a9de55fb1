# The orchestrator: plans, collects, recovers, and starts what is scheduled.
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
ENV REMAP_SIGTERM=SIGQUIT
ENTRYPOINT ["celery", "-A", "celery_app", "worker", "--beat", "--schedule=/tmp/beat-schedule", \
            "--queues=tasks,agent.planner", "--loglevel=INFO"]
