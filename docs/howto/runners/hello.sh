#!/bin/sh
# A plug-in runner: says hello, once for each host. Needs jq.
set -eu
task=$(cat)
get() { printf '%s' "$task" | jq -r "$1"; }
say() { jq -cn "$@" >&3; }

if [ "$(get .protocol)" != aegir.runner/0 ]; then
    echo "hello: this speaks aegir.runner/0" >&2
    exit 1
fi
say '{event: "greeting", protocol: "aegir.runner/0", version: "1"}'

case $1 in
plan)
    if [ "$(get .task_verb)" = delete ]; then
        say '{event: "step", name: "Would do nothing: no hello stays", status: "ok"}'
    else
        say '{event: "step", name: "Would say hello", status: "changed"}'
    fi
    ;;
apply)
    for host in $(get '.hosts[].name'); do
        echo "Hello, $host"
        say --arg host "$host" '{event: "step", name: "Say hello", status: "ok", host: $host}'
    done
    ;;
delete | cancel) ;; # nothing stays, and nothing goes on when this has ended
*)
    echo "hello: there is no verb $1" >&2
    exit 1
    ;;
esac
