#!/bin/sh
# Makes what docker-compose.yml reads and git must never see: secrets/, keys/ and .env.
# What is there already is left as it is. `make secrets` runs it.
set -eu
umask 077
cd "$(dirname "$0")/.."
mkdir -p secrets keys

for name in db_password flower_password; do
    file=secrets/$name.txt
    [ -e "$file" ] || "${PYTHON:-python3}" -c 'import secrets; print(secrets.token_hex(24))' > "$file"
done

# The containers run as whoever owns these files, and never as root.
uid=$(id -u)
if [ ! -e keys/current ]; then
    # In a home of its own, where there is nothing yet that the key would have to seal.
    home=$(mktemp -d)
    env -u CONFIG_PATH AI_AGENT_HOME="$home" AI_AGENT__SECURITY__ENCRYPTION__KEY_PATH="$PWD/keys" \
        "${AI_AGENT:-ai-agent}" keys create
    rm -rf "$home"
fi
if [ "$uid" = 0 ]; then
    uid=1000
    chown -R $uid secrets keys
fi
[ -e .env ] || sed "s/^AI_AGENT_UID=.*/AI_AGENT_UID=$uid/" .env.example > .env
