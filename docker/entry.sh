#!/bin/sh
# What a container of this system is:
#   entry.sh [ROLE]           become it: orchestrator, agent_pool, beat or flower
#   entry.sh healthy [ROLE]   exit code 0 if the one that runs here is well
#   entry.sh COMMAND ...      run any other command, such as `ai-agent keys list`
# Without ROLE it is agent_pool where AGENT_POOL=true, and else the orchestrator.
# Whoever starts first makes the tables or brings them up to date, under a lock.
set -eu

API_PORT=${API_PORT:-8000}
FLOWER_PORT=${FLOWER_PORT:-5555}
AI_AGENT_HOME=${AI_AGENT_HOME:-/tmp/ai-agent}
export AI_AGENT_HOME

own_role() {
    if [ "${AGENT_POOL:-false}" = true ]; then echo agent_pool; else echo orchestrator; fi
}

answers() {
    python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1"
}

become() {
    case $1 in
        orchestrator) exec ai-agent api --host 0.0.0.0 --port "$API_PORT" ;;
        agent_pool) exec ai-agent worker -n agent_pool@%h ;;
        beat) exec ai-agent beat ;;
        flower) exec ai-agent flower --address=0.0.0.0 --port="$FLOWER_PORT" ;;
    esac
}

healthy() {
    case $1 in
        orchestrator) answers "http://127.0.0.1:$API_PORT/healthz" ;;
        agent_pool) celery -A celery_app inspect ping -d "agent_pool@$(hostname)" --timeout 5 ;;
        # Beat touches this file whenever it looks at what is due: every five seconds at least.
        beat) test -n "$(find "$AI_AGENT_HOME/run/beat-schedule.tick" -mmin -1)" ;;
        flower) answers "http://127.0.0.1:$FLOWER_PORT/healthcheck" ;;
    esac
}

case ${1:-} in
    healthy) healthy "${2:-$(own_role)}" ;;
    orchestrator | agent_pool | beat | flower) become "$1" ;;
    "") become "$(own_role)" ;;
    *) exec "$@" ;;
esac
