# make study: the embedded study, from nothing to its table. make report: one page of it. make test: the tests.
# make validate: error rates of the claims, by simulation. make seed-sets: the same question of trained runs (80 minutes).
# make bench: what a step costs. All make the environment first.
PYTHON ?= python3
AXIS ?= inputs
CORES ?= 2
BIN := .venv/bin
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PATH := $(CURDIR)/$(BIN):$(PATH)

SNAKEMAKE = flock -w 120 .study.lock $(BIN)/python -m snakemake --cores $(CORES) --nolock --rerun-incomplete --keep-going \
  --rerun-triggers mtime params --quiet rules host

.PHONY: study seed-sets report validate test bench bench-gpu check clean

study: .venv/ready
	@echo "study: two runs at a time; finished runs are kept, a stopped study goes on from them"
	@$(SNAKEMAKE) --config axis="$(AXIS)"
	@$(BIN)/python -m studylib.claims.tables --axis "$(AXIS)"

seed-sets: .venv/ready
	@$(SNAKEMAKE) --until run --config axis=inputs worlds=universal_norms conditions="narrow broad" \
	  first_seed=5 seeds=50 run_root=runs_seed_sets
	$(BIN)/python -m studylib.instruments.seed_sets

report: .venv/ready
	$(BIN)/python -m studylib.claims.report --axis "$(AXIS)"

validate: .venv/ready
	$(BIN)/python -m studylib.instruments.validate

test: .venv/ready
	$(BIN)/python -m pytest

bench: .venv/ready
	$(BIN)/python -m studylib.instruments.bench

bench-gpu: .venv/ready
	$(BIN)/python -m studylib.instruments.bench --gpu

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
