# Every target makes its own .venv with what it needs; a second call installs nothing again.
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow test-jax lint bench faults clean

demo: .venv/demo.stamp
	$(BIN)/tfseg demo

# A test file stays on one process, so that its compiled models are built once.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile

# The longest files come first, the notebooks, so that no process waits for the other in the end.
test: .venv/test.stamp
	$(PYTEST) --no-loadscope-reorder --doctest-modules --nbmake --nbmake-timeout=1200 \
		notebooks tests tfseg

test-slow: .venv/test.stamp
	$(PYTEST) -m slow

test-jax: .venv/jax.stamp
	KERAS_BACKEND=jax $(PYTEST) tests/ops tests/losses tests/metrics
	# JAX compiles each operation of a network by itself, for every size: two networks, and what all are
	# built from. `make test-slow` compares the logits of networks with all kinds of layers.
	KERAS_BACKEND=jax $(PYTEST) --ignore tests/models/test_unet.py tests/models \
		-k "(unet or pspnet or decoders or blocks or batch_norm) and not (unetpp or tiny or everything)"

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify notebooks/*.ipynb

faults: .venv/test.stamp
	$(BIN)/python tests/planted_faults.py

bench: .venv/test.stamp
	for script in tests/benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/%.stamp: setup.cfg pyproject.toml | .venv/pyvenv.cfg
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@

.venv/jax.stamp: .venv/test.stamp

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
