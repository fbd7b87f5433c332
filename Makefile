# Thin on purpose: the work is in cargo and in small scripts.

.PHONY: run test release lint

# Build, start a server in an empty folder, upload a sample film, and show where it plays.
run:
	.ci/install run
	cargo build --locked --package backlot
	tests/demo.py $${CARGO_TARGET_DIR:-target}/debug/backlot

test:
	.ci/install all
	tests/setup.sh
	cargo nextest run --workspace --features backlot/crash-points --locked --no-fail-fast \
		--config-file .ci/nextest.toml
	cargo nextest run --manifest-path guests/Cargo.toml --workspace --locked --no-fail-fast \
		--target-dir $${CARGO_TARGET_DIR:-target}/guests-native

# The binary to deploy: target/release/backlot.
release:
	.ci/install build
	cargo build --release --locked --package backlot
