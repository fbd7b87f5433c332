# Thin on purpose: the work is in cargo and in small scripts.

.PHONY: run test soak release lint

# Build, start a server in an empty folder, upload a sample film, and show where it plays.
run:
	.ci/install run
	cargo build --locked --package backlot
	tests/demo.py $${CARGO_TARGET_DIR:-target}/debug/backlot

test:
	.ci/install all
	tests/setup.sh
	tests/guests.sh
	cargo build --workspace --bin backlot --features backlot/crash-points --locked
	cargo nextest run --workspace --features backlot/crash-points --locked --no-fail-fast \
		--config-file .ci/nextest.toml
	cargo nextest run --manifest-path guests/Cargo.toml --workspace --locked --no-fail-fast \
		--target-dir $${CARGO_TARGET_DIR:-target}/guests-native

# Kill a busy server, and cut its power, far more often than `make test` does. About half an hour.
soak:
	.ci/install all
	tests/setup.sh
	cargo build --workspace --bin backlot --features backlot/crash-points --locked
	BACKLOT_SOAK_KILLS=$${BACKLOT_SOAK_KILLS:-2000} BACKLOT_SOAK_CUTS=$${BACKLOT_SOAK_CUTS:-100} \
		cargo nextest run --workspace --features backlot/crash-points --locked --no-fail-fast \
		--no-capture --config-file .ci/nextest.toml --profile soak -E 'test(kill_9_again) + binary(power)'

# The binary to deploy: target/release/backlot.
release:
	.ci/install build
	cargo build --release --locked --package backlot
