# Two commands on a fresh machine: `make run` and `make test`. Each creates what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
SWEEP ?= sweeps/substitutive.yaml

.PHONY: run test slow chaos browser fuzz mutations audit audit-images ui bench bench-sweep bench-scale bench-gpu lint types checks clean

run: .venv/.installed
	$(BIN)/procray sweep $(SWEEP)

# One more than two cores: while one waits for Ray or a disk, two work.
PROCESSES ?= 3
test: .venv/.installed-dev
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m "slow and not browser"

CHAOS ?= --seconds 600
chaos: .venv/.installed-dev  # kills whatever a sweep stands on for ten minutes, and some more to compare; see tests/faults/chaos.py
	$(BIN)/python tests/faults/chaos.py $(CHAOS)

browser: .venv/.installed-dev
	$(BIN)/python -m pytest -m browser

COUNT ?= 100000
SEED ?= 0
fuzz: .venv/.installed-dev  # sweep files, the store's documents, checkpoints and corpora that nobody should ever write
	$(BIN)/python -W ignore tests/security/fuzzing.py --count $(COUNT) --seed $(SEED)

MUTATE ?= sweep
MUTANTS ?= 10
mutations: .venv/.installed-dev  # small changes to the source that the tests should notice, MUTANTS a file; MUTATE is a group of tests/mutations.yaml
	$(BIN)/python tests/mutations.py $(MUTATE) --count $(MUTANTS) --seed $(SEED)

# Asks public databases of vulnerabilities about every pinned version, of what the image adds too, and about the actions of
# CI, so it needs a network; GH_TOKEN lets it ask GitHub.
audit: .venv/.installed
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet 'pip-audit==2.10.1' 'zizmor==1.32.0'
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip
	.venv/audit/bin/pip-audit --requirement docker/requirements-cuda.txt --no-deps --disable-pip
	.venv/audit/bin/zizmor $(if $(GH_TOKEN),,--offline) .github

# The images that docker/ stands on, by their digests; needs Docker and a network.
GRYPE := anchore/grype:v0.120.1@sha256:e4a44ef45d285b829ce6efe2642980329661bd2d18eab5fc539138d4adaebbbe
audit-images:
	grep -hoE '[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}' docker/Dockerfile docker/compose.yaml | sort -u | \
	  xargs -n 1 docker run --rm $(GRYPE) --fail-on high --only-fixed

ui: .venv/.installed
	$(BIN)/procray ui $(SWEEP)

# For a CPU, 17 minutes on 2 cores that do nothing else, 21 with the checkouts. OFFICIAL and NANOGPT name checkouts of the papers' released code
# and of nanoGPT; TOKENIZER a folder with GPT-2's vocabulary.
bench: .venv/.installed-dev
	$(BIN)/python benchmarks/training.py $(if $(NANOGPT),--nanogpt $(NANOGPT))
	$(if $(OFFICIAL),$(BIN)/python benchmarks/phase1.py --official $(OFFICIAL))
	$(BIN)/python benchmarks/step_profile.py
	$(BIN)/python benchmarks/generators.py $(if $(OFFICIAL),--official $(OFFICIAL))
	$(BIN)/python benchmarks/corpora.py $(if $(TOKENIZER),--tokenizer $(TOKENIZER))
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/budgets.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/packs.py
	$(BIN)/python benchmarks/overhead.py

bench-sweep: .venv/.installed-dev  # 8 minutes
	$(BIN)/python benchmarks/whole_sweep.py

bench-scale: .venv/.installed-dev  # 3 minutes
	$(BIN)/python benchmarks/scale.py

bench-gpu: .venv/.installed-dev
	$(BIN)/python benchmarks/gpu.py

lint: .venv/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/.installed-dev
	$(BIN)/mypy

checks: lint types test

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "procray needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
