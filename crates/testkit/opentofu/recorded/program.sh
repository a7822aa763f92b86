#!/bin/sh
# Stands in for tofu. It is not that program: it answers with what Terraform 1.11.4 answered to the same questions about
# role (the files beside this one), and keeps in the state only which greeting was applied last.
set -eu
here=$(dirname "$0")
override=aegir_runner_override.tf.json
if [ "$1" = init ]; then
    # The real one takes only a workspace that is there.
    if [ -n "${TF_WORKSPACE:-}" ]; then
        echo "Error: Currently selected workspace \"$TF_WORKSPACE\" does not exist" >&2
        exit 1
    fi
    mkdir -p .terraform
    type=local
    if [ ! -e $override ] && [ -e backend.tf ]; then type=recorded; fi
    echo '{"backend": {"type": "'$type'"}}' > .terraform/terraform.tfstate
    exit
fi
# The runner's own words about where states are, or else the role's.
if [ -e $override ]; then
    states=$(sed -n 's/.*"workspace_dir":"\([^"]*\)".*/\1/p' $override)
else
    states=$(sed -n 's/.*path = "\([^"]*\)".*/\1/p' backend.tf)
fi
state=$states/$TF_WORKSPACE/terraform.tfstate
value() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' aegir-runner.tfvars.json; }
applied() { sed -n 's/.*"greeting": "\([^"]*\)".*/\1/p' "$state"; }

case $1 in
plan)
    case " $* " in *' -destroy '*) destroy=yes ;; *) destroy= ;; esac
    if [ ! -e "$state" ]; then
        action=${destroy:+gone}
        action=${action:-create}
    elif [ -n "$destroy" ]; then
        action=destroy
    elif [ "$(applied)" = "$(value greeting)" ]; then
        action=nothing
    else
        action=update
    fi
    echo "$action" > aegir-runner.plan
    case $action in nothing | gone) exit 0 ;; *) exit 2 ;; esac
    ;;
show) cat "$here/$(cat aegir-runner.plan).json" ;;
state)
    if [ "$2" = push ]; then
        if grep -q 'for good' errored.tfstate; then
            echo 'Error: the backend is away' >&2
            exit 1
        fi
        mkdir -p "$(dirname "$state")"
        cp errored.tfstate "$state"
    elif [ -e "$state" ]; then
        cat "$state"
    fi
    ;;
apply)
    sleep "$(sed -n 's/.*"seconds":\([0-9]*\).*/\1/p' aegir-runner.tfvars.json)"
    if [ "$(cat aegir-runner.plan)" = destroy ]; then
        rm "$state"
        exit
    fi
    case $(value greeting) in unwritten*)
        echo "{\"lineage\": \"a\", \"serial\": 1, \"greeting\": \"$(value greeting)\", \"password\": \"$(value password)\"}" \
            > errored.tfstate
        echo 'Error: Failed to save state' >&2
        exit 1
        ;;
    esac
    mkdir -p "$(dirname "$state")"
    serial=$(sed -n 's/.*"serial": \([0-9]*\).*/\1/p' "$state" 2>/dev/null || echo 0)
    echo "{\"lineage\": \"a\", \"serial\": $((serial + 1)), \"greeting\": \"$(value greeting)\"}" > "$state"
    ;;
output) cat "$here/output.json" ;;
*)
    echo "this stand-in does not know $1" >&2
    exit 64
    ;;
esac
