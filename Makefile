# Targets with one-line help; `make help` prints them.
JOBS ?= $(shell nproc)
BUILD ?= build

.PHONY: help build demo demo-clean test bench format

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1\t/' | expand -t 16

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json
	cmake --preset release -B $(BUILD)

build: $(BUILD)/build.ninja ## build everything, tests and benchmarks included
	cmake --build $(BUILD) -j $(JOBS)

demo: ## take real images and one manifest to a verified network on three devices over SSH
	cmake --preset demo -B $(BUILD)-demo >$(BUILD)-demo.log 2>&1 || { cat $(BUILD)-demo.log; exit 1; }
	cmake --build $(BUILD)-demo -j $(JOBS)
	python3 demo/run.py --bin $(BUILD)-demo/bin

demo-clean: ## stop the demo and remove what it made
	python3 demo/run.py --bin $(BUILD)-demo/bin --clean

test: $(BUILD)/build.ninja ## build and run the whole test suite
	cmake --build $(BUILD) -j $(JOBS)
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

bench: $(BUILD)/build.ninja ## print figures against named peers; rows go to build/bench/*.json
	cmake --build $(BUILD) -j $(JOBS)
	python3 bench/run.py --build $(BUILD)

format: ## format every source file in place
	git ls-files '*.h' '*.cpp' | xargs clang-format -i
