#!/usr/bin/env bats

# With DDEV, bats-core, bats-assert, bats-file and bats-support installed, and the images built (`cargo xtask images`):
#   bats ./tests/test.bats

setup() {
  set -eu -o pipefail
  TEST_BREW_PREFIX="$(brew --prefix 2>/dev/null || true)"
  export BATS_LIB_PATH="${BATS_LIB_PATH:-}:${TEST_BREW_PREFIX}/lib:/usr/lib/bats"
  bats_load_library bats-assert
  bats_load_library bats-support

  DIR="$(cd "$(dirname "${BATS_TEST_FILENAME}")/.." >/dev/null 2>&1 && pwd)"
  export DIR
  export PROJNAME=test-aegir
  mkdir -p "${HOME}/tmp"
  TESTDIR="$(mktemp -d "${HOME}/tmp/${PROJNAME}.XXXXXX")"
  export TESTDIR
  export DDEV_NONINTERACTIVE=true
  export DDEV_NO_INSTRUMENTATION=true
  ddev delete -Oy "${PROJNAME}" >/dev/null 2>&1 || true
  cd "${TESTDIR}"
  run ddev config --project-name="${PROJNAME}" --project-tld=ddev.site
  assert_success
  run ddev start -y
  assert_success
}

teardown() {
  set -eu -o pipefail
  ddev delete -Oy "${PROJNAME}" >/dev/null 2>&1
  [ "${TESTDIR}" = "" ] || rm -rf "${TESTDIR}"
}

# The first catalog takes a moment.
aegir_check() {
  for _ in $(seq 30); do
    run ddev aegir-check
    [ "${status}" -ne 0 ] || return 0
    sleep 2
  done
}

health_checks() {
  # relayd answers through the router, and through its socket in the web container.
  run curl -sf "https://${PROJNAME}.ddev.site:7181/healthz"
  assert_success
  aegir_check
  assert_success
  assert_output --partial "RabbitMQ"

  # The whole way.
  mkdir -p hello
  echo '<h1>Hello from bats</h1>' >hello/index.html
  run ddev aegir run static_site.deploy --target site:hello.example \
    --hosts-file /exchange/hosts/minion.json --var source=/var/www/html/hello --follow
  assert_success
  run ddev exec "curl -sf --header 'Host: hello.example' http://ddev-${PROJNAME}-minion/"
  assert_success
  assert_output --partial "Hello from bats"

  # A daemon is restarted, and is there again.
  run ddev worker-restart dispatcherd --no-build
  assert_success
  aegir_check
  assert_success
}

@test "install from directory" {
  set -eu -o pipefail
  echo "# ddev add-on get ${DIR} with project ${PROJNAME} in $(pwd)" >&3
  run ddev add-on get "${DIR}"
  assert_success
  run ddev restart -y
  assert_success
  health_checks
}

@test "remove" {
  set -eu -o pipefail
  run ddev add-on get "${DIR}"
  assert_success
  run ddev add-on remove aegir
  assert_success
  refute [ -e .ddev/docker-compose.relayd.yaml ]
}
