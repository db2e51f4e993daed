# make demo: one run and its story, under five minutes. make study: the embedded study, from nothing to its table.
# make report: one page of it. make results: docs/results.md, landscape.md, real_model.md. make validate: error rates of the claims, by simulation.
# make seed-sets: the same question asked of trained runs (80 minutes). make bench: what a step costs. make test: the tests.
# make model: fetch SmolLM2-135M-Instruct (93 MB) and make what runs of the profile smollm2_cpu start from.
# make test-colab: every notebook under Colab's versions, from the package index.
# make gpu-check: does everything work on this GPU? Ten minutes at most.
# All make the environment first.
PYTHON ?= python3
AXIS ?= inputs
CORES ?= 2
BIN := .venv/bin
STUDYLIB := $(BIN)/python -m studylib
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo study model seed-sets report results validate test test-colab bench bench-gpu gpu-check check clean

demo: .venv/ready
	@$(STUDYLIB) run --demo

study: .venv/ready
	@$(STUDYLIB) study --axis "$(AXIS)" --cores $(CORES)

model: .venv/ready
	$(STUDYLIB) run --warm-start --profile smollm2_cpu

seed-sets: .venv/ready
	@$(STUDYLIB) study --runs-only --cores $(CORES) --worlds universal_norms --conditions "narrow broad" \
	  --first-seed 5 --seeds 50 --run-root runs_seed_sets
	$(STUDYLIB) validate --seed-sets

report: .venv/ready
	$(STUDYLIB) report --axis "$(AXIS)"

results: .venv/ready
	$(STUDYLIB) report --results

validate: .venv/ready
	$(STUDYLIB) validate --study figures/inputs

test: .venv/ready
	$(BIN)/python -m pytest

test-colab: .venv/ready
	$(BIN)/python tests/colab_environment.py

bench: .venv/ready
	$(STUDYLIB) bench

bench-gpu: .venv/ready
	$(STUDYLIB) bench --gpu

gpu-check: .venv/ready
	$(STUDYLIB) gpu-check

check: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check studylib tests

.venv/ready: constraints.txt pyproject.toml
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=...")'
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[study,dev]'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 > /dev/null
	touch $@

clean:
	rm -rf .venv .cache runs runs_seed_sets .snakemake
