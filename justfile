# What developers and CI run. `just --list` shows it all.

set shell := ["bash", "-euo", "pipefail", "-c"]

soak := "cargo run --locked --profile sim -p zen-lab --bin soak --"

# zen-lead at work, without a cluster; `just demo --once` ends after its tour
demo *ARGS:
    cargo run --locked --release --example demo -- {{ARGS}}

# The checks to run before a commit; no cluster needed
check: fmt-check clippy doc test deny scripts-check

# Formatting
fmt-check:
    cargo fmt --all --check

# Lints, warnings as errors
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked --test e2e -- -D warnings # it is no part of the targets that `cargo test` runs

# Documentation, warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# Unit, property and shell tests; no cluster, no network beyond loopback
test:
    cargo test --locked --workspace

# Licences, duplicates, bans and sources of everything that is linked; the list with the reasons
deny:
    cargo fetch --locked
    cargo deny --offline --locked check -D unmatched-skip -D unnecessary-skip licenses bans sources
    scripts/dependencies

# Known vulnerabilities; needs the advisory database, so it is not a step of CI
advisories:
    cargo deny --locked check advisories

# The scripts themselves
scripts-check:
    python3 -m py_compile scripts/control-plane scripts/control-plane.d/*.py scripts/readme scripts/page-check scripts/electors scripts/electors.d/*.py scripts/manifests scripts/manifests.d/*.py scripts/monitoring scripts/monitoring.d/*.py
    python3 -m py_compile scripts/dependencies scripts/image-check scripts/sbom scripts/compare-builds
    for script in .ci/run scripts/build-release scripts/image scripts/ci-steps scripts/release-notes; do bash -n "$script"; done
    scripts/ci-steps --check
    python3 -m py_compile scripts/consumers scripts/consumers.d/*.py scripts/dataplane scripts/dataplane.d/*.py
    python3 -m py_compile scripts/cluster scripts/cluster.d/*.py scripts/real scripts/chaos scripts/real.d/*.py
    hadolint Containerfile
    actionlint .github/workflows/*.yaml

# The binaries of the control plane, built once and cached
control-plane:
    scripts/control-plane build --all

# The elections of others that the end-to-end tests follow, built once and cached
electors:
    scripts/electors build

# The control plane, the electors and Helm, for CI: waits for a build under way, which holds the lock
control-plane-ready:
    mkdir -p target
    flock target/ci-control-plane.lock bash -c 'scripts/control-plane build --all && scripts/electors build && scripts/manifests helm'

# The contract's scenarios against a real control plane; `just e2e rename` runs those that match
e2e *ARGS: control-plane electors
    E2E_ELECTORS=needed cargo test --locked --test e2e -- {{ARGS}}

# Those of them that are meant for both servers, against simkube
e2e-simkube *ARGS:
    E2E_SERVER=simkube cargo test --locked --test e2e -- {{ARGS}}

# The same requests to simkube and to a real API server; `just conformance record` keeps the real answers
conformance RECORD="": control-plane
    #!/usr/bin/env bash
    set -euo pipefail
    dir=$(mktemp -d)
    trap 'scripts/control-plane down --dir "$dir"' EXIT
    export SIMKUBE_REAL_KUBECONFIG=$(scripts/control-plane up --fast --dir "$dir")
    [ -z "{{RECORD}}" ] || SIMKUBE_RECORD=1 cargo test --locked -p simkube --test it the_real_server
    cargo test --locked -p simkube --test it -- --nocapture conformance

# The same on an API server without streaming lists, in JSON
e2e-paged *ARGS: control-plane electors
    E2E_ELECTORS=needed E2E_FEATURE_GATES=WatchList=false E2E_WATCH_ENCODING=json cargo test --locked --test e2e -- {{ARGS}}

# The same on an older minor version: `just e2e-on 1.25`, `just e2e-on 1.28 rename`
e2e-on MINOR *ARGS:
    scripts/control-plane build --kubernetes {{MINOR}} --controller-manager
    scripts/electors build --kubernetes {{MINOR}}
    E2E_ELECTORS=needed cargo test --locked --test e2e -- --kubernetes {{MINOR}} {{ARGS}}

# Upgrades the API server from the oldest minor version to the newest, under a running zen-lead
upgrade:
    for minor in $(scripts/control-plane minors); do scripts/control-plane build --kubernetes $minor --controller-manager; done
    cargo test --locked --test e2e -- --upgrade "$(scripts/control-plane minors)"

# The manifests on a real API server, and zen-lead with exactly the rights that they grant
manifests: control-plane
    cargo build --locked
    scripts/manifests check
    scripts/manifests test

# The Helm chart renders the manifests, and a release of it serves
chart: control-plane
    cargo build --locked
    scripts/manifests chart

# The alerts by promtool, and with the dashboard on a Prometheus that scrapes a running zen-lead
monitoring: control-plane
    cargo build --locked
    scripts/monitoring check
    scripts/monitoring test

# Replays one seed of the simulation, with its trace; one that fails is shrunk
sim SEED:
    {{soak}} --replay {{SEED}}

# The long simulation: `just soak --minutes 60`, `just soak --seeds 100000 --first 5001`
soak *ARGS:
    {{soak}} {{ARGS}}

# What CI asks of the simulation: seeds that meet everything there is
sim-ci:
    {{soak}} --seeds 5000

# Builds bugs in on purpose; the simulation has to find each within 500 seeds. `--bug NAME` for one of them
planted *ARGS:
    RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/rustc-planted" {{soak}} --planted {{ARGS}}

# Benches in one process, then the released binary's memory and first sync; `just bench decision`
bench *ARGS:
    cargo build --locked --release -p zen-lead
    cargo bench --locked -p zen-bench --bench zen -- {{ARGS}}
    cargo bench --locked -p zen-bench --bench footprint

# On the real control plane, beside a bare PATCH and the native controller; --quick for a smoke test
bench-real *ARGS: control-plane
    cargo build --locked --release -p zen-lead
    cargo run --locked --release -p zen-lab --bin bench-real -- {{ARGS}}

# The race with the native controller, whose slice is written by the same pod event
bench-race *ARGS: (bench-real "race" ARGS)

# What a client sees of a failover through a real kube-proxy; --quick for a smoke test; needs root
bench-dataplane *ARGS: control-plane
    cargo build --locked --release -p zen-lead
    cargo build --locked --release -p zen-lab --bin bench-real
    scripts/dataplane {{ARGS}}

# Fuzzes one reader of foreign bytes; needs cargo-fuzz and a nightly toolchain
fuzz TARGET SECONDS="60":
    mkdir -p target/fuzz/corpus/{{TARGET}}
    cargo +nightly fuzz run --fuzz-dir bench/fuzz --target-dir target/fuzz --sanitizer none {{TARGET}} target/fuzz/corpus/{{TARGET}} bench/fuzz/corpus/{{TARGET}} -- -max_total_time={{SECONDS}} -dict=bench/fuzz/json.dict

# The static binary and its bill of materials in target/dist; `just release --experimental`, `--twice`
release *OPTIONS:
    scripts/build-release {{OPTIONS}}

# What was released: static, alone in a read-only root, and the image around it
image-check: release
    scripts/image-check

# The README's quick start, from the README's own text
quickstart: control-plane
    python3 scripts/readme run README.md

# A real cluster on this machine, built once and cached: kubelets, containers, DNS; needs root
cluster *ARGS="up":
    scripts/cluster {{ARGS}}

# zen-lead on a real cluster, with a client that counts: `just real drain` those with the word; needs root
real *ARGS: release
    scripts/real {{ARGS}}

# CI's selection of them
real-ci: release
    scripts/real --ci

# What programs that read Services make of a leader Service: `just consumers`, `just consumers coredns`
consumers *ARGS: control-plane
    cargo build --locked
    scripts/consumers {{ARGS}}

# CI's selection of them
consumers-ci: control-plane
    cargo build --locked
    scripts/consumers --ci

# Hundreds of Services on the real cluster while everything fails: `just chaos --minutes 60`; needs root
chaos *ARGS: release
    scripts/chaos {{ARGS}}

# The steps that CI runs, with the tools that are here: `just ci`, or `just ci clippy tests`
ci *STEPS:
    scripts/ci-steps {{STEPS}}

# The status page in a real headless Chromium (needs playwright for Python, and chromium)
status-page *ARGS: control-plane
    cargo build --locked
    "${ZEN_LEAD_PYTHON:-python3}" scripts/page-check {{ARGS}}
