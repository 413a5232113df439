# The only two commands needed on a fresh machine: `make benchmark` and `make test`. Each sets itself up.
PYTHON ?= python3
TASK ?= all
RUN ?= results/benchmark
ARGS ?=
FETCH ?=
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready
LEROBOT := .venv-lerobot

.DEFAULT_GOAL := help
.PHONY: help setup benchmark bench bench-gpu test test-lerobot lint format sweep compare expert data flow policy zoo methods ranking published report render clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(STAMP) ## the virtual environment, from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: Python 3.11 to 3.14 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); run make PYTHON=python3.12"; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || true
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PY) -m ensurepip > /dev/null 2>&1 || \
	  { echo "error: $(VENV) has no pip, and $(PYTHON) cannot add it; on Debian and Ubuntu: apt install python3-venv, and run make again"; exit 2; }
	@echo "installing into $(VENV) (a minute or two) ..."
	@# not byte-compiled: half the time, and Python compiles what is imported
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

benchmark: $(STAMP) ## the laptop sweep: shipped policies, four strategies, d = 0..4; continues if interrupted
	$(PY) scripts/sweep.py preset=laptop $(ARGS)

test: $(STAMP) $(VENV)/.ready-cluster ## all tests, two files at a time
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

$(VENV)/.ready-cluster: requirements-cluster.lock $(STAMP)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements-cluster.lock
	@touch $@

test-lerobot: $(STAMP) $(LEROBOT)/.ready ## extra: data sets to and from the package lerobot, in an environment of its own (7 GB on x86)
	RTC_BENCH_LEROBOT=$(LEROBOT)/bin/python $(PY) -m pytest tests/training/test_lerobot_package.py $(ARGS)

$(LEROBOT)/.ready: tests/training/lerobot_requirements.txt
	$(PYTHON) -m venv $(LEROBOT)
	@echo "installing lerobot into $(LEROBOT) (minutes; PyTorch is large) ..."
	@$(LEROBOT)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r $<
	@# by itself: what it asks for to drive robots is not needed here, and part of that wants a compiler
	@$(LEROBOT)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps lerobot==0.4.4
	@touch $@

lint: $(STAMP) ## linter, formatter, type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMP) ## let the formatter and the linter mend what they can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

sweep: $(STAMP) ## a sweep of your own: make sweep ARGS="delay=0..4 strategy=[naive,rtc]"
	$(PY) scripts/sweep.py $(ARGS)

expert: $(STAMP) ## stage 1, experts: make expert TASK=mjc_swimmer
	$(PY) scripts/train_expert.py task=$(TASK) $(ARGS)

data: $(STAMP) ## stage 2, expert data: make data TASK=mjc_swimmer
	$(PY) scripts/generate_data.py task=$(TASK) $(ARGS)

flow: $(STAMP) ## stage 3, the flow policy: make flow TASK=mjc_swimmer
	$(PY) scripts/train_flow.py task=$(TASK) $(ARGS)

policy: $(STAMP) ## stages 1 to 3, up to the flow policy: make policy TASK=mjc_swimmer, or ARGS=preset=paper
	$(PY) scripts/train_expert.py task=$(TASK) $(ARGS)
	$(PY) scripts/generate_data.py task=$(TASK) $(ARGS)
	$(PY) scripts/train_flow.py task=$(TASK) $(ARGS)

zoo: $(STAMP) ## rebuild the shipped policies from nothing, task by task, or one: make zoo TASK=mjc_swimmer
	@set -e; tasks="$(TASK)"; \
	[ "$$tasks" != all ] || tasks=`$(PY) -c 'from rtc_bench import envs; print(*envs.TASKS)'`; \
	for task in $$tasks; do \
	  for stage in train_expert generate_data train_flow publish_zoo; do $(PY) scripts/$$stage.py task=$$task; done; done; \
	$(PY) scripts/bench_coherence.py --out results/zoo $$tasks

methods: $(STAMP) ## train what the methods that learn need, from data and experts of make zoo: all tasks, or TASK=mjc_swimmer
	$(PY) scripts/train_method.py task=$(TASK) out=policies/zoo/methods $(ARGS)

ranking: $(STAMP) ## all methods side by side, or with a new one: make ranking ARGS="strategy=mine out=results/methods/mine"
	$(PY) scripts/sweep.py preset=methods $(ARGS)
	$(PY) scripts/rank_methods.py

published: $(STAMP) ## fetch the published policies, play them beside their published rates: make published ARGS=episodes=2048
	@$(PY) scripts/fetch_published.py task=$(TASK) $(FETCH) || test -n "$$(ls runs/published/*.safetensors 2> /dev/null)"
	$(PY) scripts/sweep.py preset=published $(ARGS)
	$(PY) scripts/compare_published.py run=results/published_policies out=results/published_policies/beside_published

report: $(STAMP) ## a page, figures and tables of a run folder: make report RUN=results/benchmark
	$(PY) scripts/report.py $(RUN) $(ARGS)

render: $(STAMP) ## a picture of a task: make render TASK=car_launch
	$(PY) scripts/render.py task=$(subst all,h17_unicycle,$(TASK)) $(ARGS)

compare: $(STAMP) ## where a new strategy wins: make compare ARGS="strategy=examples/blend.py:Blend"
	$(PY) scripts/compare.py $(ARGS)

bench: $(STAMP) ## speed of physics, training, evaluator, compilation and make benchmark, equivalence of the physics, chunks of the zoo: hours
	$(PY) scripts/bench_physics.py --out results/benchmarks
	$(PY) scripts/bench_training.py --out results/benchmarks
	$(PY) scripts/bench_evaluator.py --out results/benchmarks
	$(PY) scripts/bench_equivalence.py --out results/benchmarks
	$(PY) scripts/bench_compile.py --out results/benchmarks
	$(PY) scripts/bench_startup.py --out results/benchmarks
	$(PY) scripts/bench_coherence.py --out results/zoo
	$(PY) scripts/bench_laptop.py --out results/benchmarks
	$(PY) scripts/bench_costs.py

bench-gpu: $(STAMP) ## what this machine's GPU gives in ten minutes: physics, training, a sweep at paper size, in results/benchmarks
	$(PY) scripts/bench_gpu.py --out results/benchmarks $(ARGS)

clean: ## caches and the virtual environments; results, data and runs stay
	rm -rf $(VENV) $(LEROBOT) build dist .pytest_cache .ruff_cache .mypy_cache *.egg-info
