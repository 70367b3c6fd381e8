# `make` lists the targets. All but cpp-deps happens in this folder, without root rights.

PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
VENV_PIP := $(VENV)/bin/pip
INSTALLED := $(VENV)/installed
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Of the changes that make promises tries, so many in make test, others every day.
SAMPLE ?= 6
FUZZ_SECONDS ?= 60
FUZZERS := description flags image sizes
FUZZ_FOLDER := ascend310_infer/out/fuzz

# MindSpore Lite 2.0.0, the only one on PyPI, is for Python 3.7, which `pyenv install 3.7` compiles.
LITE_PYTHON ?= python3.7
LITE_VENV := .venv-lite

.PHONY: help install native demo test promises peers bench nightly lint config lock ascend lite cpp-deps fuzz clean

help:
	@echo "make install   create $(VENV) and install what requirements-dev.txt names"
	@echo "make native    compile the native operators, which make training on a CPU faster (optional, needs g++)"
	@echo "make demo      draw a data set, train on it, evaluate, export, predict; results in demo/"
	@echo "make test      run the tests"
	@echo "make promises  break every promise of docs/promises.md in a copy of the tree; fail if no test notices"
	@echo "make peers     install PyTorch, torchvision, timm, MindCV (up to 5 GB) and compare converted weights with them"
	@echo "make bench     measure training and inference beside torchvision (make peers installs it); needs a quiet machine"
	@echo "make nightly   run the long training and accuracy tests"
	@echo "make lock      rewrite requirements-lock.txt, with hashes, from what is installed in $(VENV)"
	@echo "make ascend    compile all models for Ascend without one, on stand-ins for CANN's libraries (needs g++, binutils)"
	@echo "make lite      convert small models of all families with MindSpore Lite 2.0.0 and compare (needs Python 3.7)"
	@echo "make lint      run ruff, and mypy on src/"
	@echo "make config    rewrite config/*/*.yaml and docs/configuration.md from the schema and tools/presets"
	@echo "make cpp-deps  install g++, cmake, OpenCV, nlohmann-json, CLI11 for ascend310_infer (Debian, Ubuntu; root or sudo)"
	@echo "make fuzz      build ascend310_infer's readers with clang's libFuzzer, run each for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make clean     remove $(VENV) and caches; demo/ and runs/ stay"
	@echo "PYTHON names the Python (3.9 to 3.12) that $(VENV) is made with: make PYTHON=python3.11 demo"

install: $(INSTALLED)

# Optional: where it fails, everything runs with MindSpore's operators.
native: $(INSTALLED)
	-@$(VENV_PYTHON) -m src.ops.native

demo: native
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash scripts/demo.sh

test: native
	$(VENV_PYTHON) -m pytest -m "not nightly" -n 2 --dist loadfile --no-loadscope-reorder
	$(VENV_PYTHON) tools/promises.py --sample $(SAMPLE)

promises: $(INSTALLED)
	$(VENV_PYTHON) tools/promises.py

peers: $(INSTALLED)
	PYTHON=$(VENV_PYTHON) bash scripts/install.sh requirements-peers.txt
	$(VENV_PYTHON) -m pytest tests/conversion

bench: native
	$(VENV_PYTHON) benchmarks/in_turns.py

nightly: $(INSTALLED)
	$(VENV_PYTHON) -m pytest -m nightly

lint: $(INSTALLED)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy

config: $(INSTALLED)
	$(VENV_PYTHON) tools/document_settings.py

lock: $(INSTALLED)
	$(VENV_PYTHON) tools/lock_requirements.py

ascend: $(INSTALLED)
	$(VENV_PYTHON) tools/ascend_simulation/check.py

lite: $(INSTALLED)
	@$(LITE_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 7))' 2> /dev/null || { \
	  echo "MindSpore Lite 2.0.0 needs Python 3.7; '$(LITE_PYTHON)' says: $$($(LITE_PYTHON) --version 2>&1)"; \
	  echo "Name one: make LITE_PYTHON=/path/to/python3.7 lite (pyenv install 3.7 compiles one)"; exit 1; } >&2
	@[ -x $(LITE_VENV)/bin/python ] || $(LITE_PYTHON) -m venv $(LITE_VENV)
	$(LITE_VENV)/bin/python -m pip install -q mindspore-lite==2.0.0
	LITE_PYTHON=$(CURDIR)/$(LITE_VENV)/bin/python $(VENV_PYTHON) -m pytest tests/cli/test_lite.py

cpp-deps:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
	  g++ cmake make libopencv-imgcodecs-dev libopencv-imgproc-dev nlohmann-json3-dev libcli11-dev

fuzz:
	@command -v clang++ > /dev/null || { echo "clang++ is not installed; Debian and Ubuntu: apt install clang" >&2; exit 1; }
	cmake -S ascend310_infer -B $(FUZZ_FOLDER) -DCMAKE_CXX_COMPILER=clang++ -DFUZZ=ON
	cmake --build $(FUZZ_FOLDER) --parallel --target $(FUZZERS:%=fuzz_%)
	@set -e; for name in $(FUZZERS); do mkdir -p $(FUZZ_FOLDER)/found/$$name; \
	  $(FUZZ_FOLDER)/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
	    -print_final_stats=1 -artifact_prefix=$(FUZZ_FOLDER)/found/ $(FUZZ_FOLDER)/found/$$name \
	    ascend310_infer/fuzz/corpus/$$name; done

clean:
	rm -rf $(VENV) $(LITE_VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt requirements-dev.txt scripts/install.sh | $(VENV_PIP)
	@echo "Installing into $(VENV); the first time this takes some minutes."
	@rm -f $@
	PYTHON=$(VENV_PYTHON) bash scripts/install.sh requirements.txt requirements-dev.txt
	@touch $@

# pip comes last into a new environment: where it is missing, making it was interrupted.
$(VENV_PIP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2> /dev/null || { \
	  echo "Python 3.9 to 3.12 is needed; '$(PYTHON)' says: $$($(PYTHON) --version 2>&1)"; \
	  echo "Name a suitable one, for example: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments; Debian and Ubuntu: apt install python3-venv"; \
	  exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
