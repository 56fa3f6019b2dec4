# SPDX-License-Identifier: Apache-2.0
# A front for CMake; see CMakePresets.json for what there is behind it.
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60

.PHONY: all demo test test-frameworks test-consumers wheel install clean fuzz bench format lint amalgamation

all:
	@scripts/setup build
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release -j $(JOBS)

demo:
	@scripts/setup demo
	@$(MAKE) --no-print-directory all
	@scripts/demo

# Everything, or PRESETS="dev asan".
test:
	@scripts/setup test
	@scripts/test $(PRESETS)

# The Python package with TensorFlow, PaddlePaddle, MLX and jax, each in an environment of its own.
test-frameworks:
	@scripts/setup frameworks
	@scripts/test-frameworks

# The programs that use safetensors, with this package and with upstream's.
test-consumers:
	@scripts/setup consumers
	@scripts/test-consumers

# The Python package as an sdist and a wheel that install elsewhere, in build/dist.
wheel:
	@scripts/setup wheel
	@scripts/wheel

install: all
	@cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build

# Each target for FUZZ_SECONDS, from its corpus; findings go to build/fuzz.
fuzz:
	@scripts/setup test
	@cmake --preset fuzz --log-level=WARNING
	@cmake --build --preset fuzz -j $(JOBS)
	@scripts/fuzz $(FUZZ_SECONDS)

bench:
	@scripts/setup bench
	@bench/run

format:
	@scripts/sources | xargs clang-format -i

lint:
	@scripts/setup test
	@cmake --preset dev --log-level=WARNING
	@cmake --build --preset dev -j $(JOBS)
	@ctest --preset dev -L lint

amalgamation:
	@mkdir -p build/amalgamation
	@python3 scripts/amalgamate.py build/amalgamation
