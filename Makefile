# `make demo`: the main job on the bundled zoo. `make test`: the tests. Both set up everything.
PYTHON ?= python3
BIN := .venv/bin

# for emulated devices and for building the runner that is pushed to them
DEVICE_PACKAGES := adb bubblewrap mmdebstrap qemu-system-arm cpio g++ g++-aarch64-linux-gnu
# for the Android library and app on a JVM
JVM_PACKAGES := default-jdk-headless maven g++ aapt android-framework-res
# for the app's APK and its tests
APK_PACKAGES := zipalign apksigner dexdump

.PHONY: demo test frontier llm bench screenshots apk aar api catalogue fuzz lint packages

demo: .venv/ready
	$(BIN)/hydraopt demo -o demo --overwrite

test: .venv/ready lint packages
	$(BIN)/python -m pytest -m ""

# wrong inputs by group, tried and held; every bit of a manifest flipped; commands killed
catalogue: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m catalogue
	PYTHONPATH=tests $(BIN)/python -m catalogue --flips
	PYTHONPATH=tests $(BIN)/python -m catalogue --kills 1000

# what `make test` does with 50 changes of every kind of file, with so many others
FUZZ_EXAMPLES ?= 20000
fuzz: .venv/ready
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -m "" tests/test_fuzz.py

# storage against quality on the zoo, and all methods by number of tasks: docs/results/frontier/*
frontier: .venv/ready
	$(BIN)/hydraopt frontier -o docs/results/frontier
	$(BIN)/hydraopt frontier -o docs/results/frontier --tasks 2,4,8,16,32 --held-out 8 --inputs 50

# the same on 16 adapters of SmolLM2-135M, trained here; hours, goes on where it was: docs/results/llm/*
llm: .venv/ready
	PYTHONPATH=tests/benchmarks $(BIN)/python -m llm_zoo -o docs/results/llm $(LLM_OPTIONS)
	PYTHONPATH=tests/benchmarks $(BIN)/python -m llm_zoo.program -o docs/results/llm/program.json
	PYTHONPATH=tests/benchmarks $(BIN)/python -m llm_zoo.rounding -o docs/results/llm/rounding.json
	PYTHONPATH=tests/benchmarks $(BIN)/python -m llm_zoo.rounding --merged-into-export-llm "" \
	  --only "packs for the rounded base;prompts;prompts, 8-bit head;all 8 bits" \
	  -o docs/results/llm/rounded_packs.json
	PYTHONPATH=tests/benchmarks $(BIN)/python -m llm_zoo.picture docs/results/llm/results.json \
	  -o docs/images/frontier.png

# speed against the alternatives; a conversation beside transformers'; sessions on a JVM; classifiers
# of a real encoder; time and memory of coding and merging; other kinds of adapters
bench: .venv/ready
	$(BIN)/python tests/benchmarks/export_cost.py build/smollm2 -o docs/results/speed/export.json
	$(BIN)/python tests/benchmarks/export_memory.py build/memory -o docs/results/speed/memory-1b.json
	$(BIN)/python tests/benchmarks/check_cost.py build/smollm2 -o docs/results/speed/check.json
	$(BIN)/python tests/benchmarks/against_export_llm.py build/smollm2 -o docs/results/speed/smollm2.json
	test -d build/llama-1b/base || $(BIN)/python tests/benchmarks/random_llama.py build/llama-1b/base
	$(BIN)/python tests/benchmarks/against_export_llm.py build/llama-1b --base build/llama-1b/base \
	  --prompt 127 --rounds 10 -o docs/results/speed/llama-1b.json
	$(BIN)/python tests/benchmarks/slot_cost.py -o docs/results/speed/slots.json
	$(BIN)/python tests/benchmarks/texts.py build/smollm2 -o docs/results/speed/texts.json
	$(BIN)/python tests/benchmarks/conversation.py build/smollm2 -o docs/results/chat.json
	PYTHONPATH=tests:android_demo $(BIN)/python tests/benchmarks/reopening.py build/smollm2 \
	  -o docs/results/reopening.json
	$(BIN)/python tests/benchmarks/minilm_heads.py -o docs/results/encoder/minilm.json
	$(BIN)/python tests/benchmarks/method_costs.py --layers 1 -o docs/results/merging/costs.json
	$(BIN)/python tests/benchmarks/growth.py -o docs/results/merging/growth.json
	$(BIN)/python tests/benchmarks/hydralora_vs_lora.py -o docs/results/training/hydralora.json
	$(BIN)/python tests/benchmarks/sparse_vs_lora.py --tasks 20 -o docs/results/training/sparse.json

# pictures of the Android app that its README shows: docs/images/android/*
screenshots: .venv/ready
	$(BIN)/python -m pytest -m "" tests/test_android_app.py
	cd docs/images/android && for picture in *.png; do \
	cp ../../../android_demo/host/app/target/screenshots/$$picture .; done

# the Android app; AAR=FILE is ExecuTorch's, by default Maven Central's: android_demo/README.md
apk: .venv/ready packages
	$(BIN)/python android_demo/apk.py $(if $(AAR),--aar $(AAR)) -o build

# the Kotlin library as AARs in a Maven repository, build/maven; pages of its API, build/api
aar: .venv/ready packages
	$(BIN)/python android_demo/aar.py -o build/maven
api: .venv/ready packages
	mvn -q -B -ntp -f android_demo/host/api compile -Dtarget=$(CURDIR)/build/api

lint: .venv/ready
	$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

# installed where that is possible without asking; tests that lack one are skipped
packages:
	@$(call installed,$(DEVICE_PACKAGES)) || \
	echo "tests on emulated devices are skipped; to run them: sudo apt-get install $(DEVICE_PACKAGES)"
	@$(call installed,$(JVM_PACKAGES)) || \
	echo "tests of the Android library and app are skipped; to run them: sudo apt-get install $(JVM_PACKAGES)"
	@$(call installed,$(APK_PACKAGES)) || \
	echo "tests of the APK are skipped; to run them: sudo apt-get install $(APK_PACKAGES)"

installed = dpkg -s $(1) > /dev/null 2>&1 || \
	{ [ "$$(id -u)" = 0 ] && apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	apt-get -qq install --no-install-recommends -y $(1) > /dev/null; }

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[all]'
	touch $@
