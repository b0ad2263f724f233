# What developers and CI run. `just --list` shows it all.

set shell := ["bash", "-euo", "pipefail", "-c"]

# zen-lead at work, without a cluster; `just demo --once` ends after its tour
demo *ARGS:
    cargo run --locked --release --example demo -- {{ARGS}}

# Everything that needs no cluster
check: fmt-check clippy doc test licences scripts-check

# Formatting
fmt-check:
    cargo fmt --all --check

# Lints, warnings as errors
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# Documentation, warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# Unit, property and shell tests; no cluster, no network beyond loopback
test:
    cargo test --locked --workspace

# Licences of everything that is linked
licences:
    python3 scripts/licences

# The scripts themselves
scripts-check:
    python3 -m py_compile scripts/control-plane scripts/control-plane.d/*.py scripts/licences scripts/readme
    bash -n .ci/run

# The binaries of the control plane, built once and cached
control-plane:
    scripts/control-plane build --all

# The contract's scenarios against a real control plane; `just e2e rename` runs those that match
e2e *ARGS: control-plane
    cargo test --locked --test e2e -- {{ARGS}}

# The same on an API server without streaming lists
e2e-paged *ARGS: control-plane
    E2E_FEATURE_GATES=WatchList=false cargo test --locked --test e2e -- {{ARGS}}

# Replays one seed of the simulation, with its trace
sim SEED:
    SIM_SEED={{SEED}} cargo test --locked --test sim whatever -- --nocapture

# Simulates so many seeds, from FIRST on
soak SEEDS="5000" FIRST="1":
    SIM_SEEDS={{SEEDS}} SIM_FIRST={{FIRST}} cargo test --locked --profile bench --test sim whatever -- --nocapture

# Builds bugs in on purpose; the simulation has to find each
planted:
    RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/rustc-planted" CARGO_TARGET_DIR=target/planted cargo test --locked --test planted -- --nocapture

# The README's quick start, from the README's own text
quickstart: control-plane
    python3 scripts/readme run README.md

# Everything that CI runs
ci: check e2e e2e-paged quickstart
