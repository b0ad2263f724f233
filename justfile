# What developers and CI run. `just --list` shows it all.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Everything that needs no cluster
check: fmt-check clippy doc test deny scripts-check

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

# Licences, duplicates, bans and sources of everything that is linked; the list with the reasons
deny:
    cargo fetch --locked
    cargo deny --offline --locked check -D unmatched-skip -D unnecessary-skip licenses bans sources
    scripts/dependencies

# Known vulnerabilities; fetches the database, so it is no part of `ci`
advisories:
    cargo deny --locked check advisories

# The scripts themselves
scripts-check:
    python3 -m py_compile scripts/control-plane scripts/control-plane.d/*.py scripts/dependencies scripts/image-check scripts/readme scripts/sbom
    bash -n .ci/run scripts/build-release scripts/image
    hadolint Containerfile

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

# Everything that CI runs
ci: check image-check e2e e2e-paged quickstart
