# All that is needed is Python 3.10 or newer, make and a network.
.POSIX:
.PHONY: help demo test faults lint format install clean

PYTHON = python3
VENV = .venv
DEMO = demo
EXTRAS = dev,demo,m4a,tensorboard
# Every test computes on one thread; as many run side by side as there are cores.
PYTEST_ARGS = -n auto --maxprocesses 8

BIN = $(VENV)/bin
STAMP = $(VENV)/.installed-by-make
# Ignores the environment that is active in the calling shell.
ALONE = unset PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX;

help:
	@echo "make demo     synthetic speakers, a short training, verification, a report"
	@echo "make test     lint and the whole test suite"
	@echo "make faults   kills, damaged files and made-up input, the long form (hours)"
	@echo "make lint     lint alone"
	@echo "make format   bring the code into the project's format"
	@echo "make install  only the environment, in $(VENV)"
	@echo "make clean    remove what the demo and the tests left (not $(VENV))"
	@echo
	@echo "PYTHON=python3.12 before or after the target chooses the interpreter."

demo: $(STAMP)
	@$(ALONE) $(BIN)/python -m speechbrain_dino.demo $(DEMO)

test: lint
	@$(ALONE) $(BIN)/python -m pytest $(PYTEST_ARGS)

# The long form of tests/faults: a hundred moments at which work is killed, ten thousand
# damaged or made-up files for every reader. Hours on two cores.
faults: $(STAMP)
	@$(ALONE) FAULTS_TIMES=15 FAULTS_EXAMPLES=10000 \
	  $(BIN)/python -m pytest $(PYTEST_ARGS) tests/faults

lint: $(STAMP)
	@$(ALONE) $(BIN)/ruff check .
	@$(ALONE) $(BIN)/ruff format --check .

format: $(STAMP)
	@$(ALONE) $(BIN)/ruff check --fix .
	@$(ALONE) $(BIN)/ruff format .

install: $(STAMP)

# An environment without a working pip is incomplete or was built by another tool: pip
# is installed into it, and where that fails the environment is rebuilt.
$(STAMP): setup.py pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "There is no '$(PYTHON)'. Install Python 3.10 or newer, or name yours:"; \
	  echo "  make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(ALONE) $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed, '$(PYTHON)' is" \
	    "`$(PYTHON) --version 2>&1`. Name another one:"; \
	  echo "  make PYTHON=python3.12 ..."; exit 1; }
	@$(ALONE) $(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  $(BIN)/python -m ensurepip >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "This Python cannot make virtual environments. On Debian and Ubuntu:"; \
	    echo "  sudo apt install python3-venv"; exit 1; }; \
	  echo "Making a virtual environment in $(VENV) ..."; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@echo "Installing what is needed into $(VENV) (PyTorch is large; minutes) ..."
	@$(ALONE) $(BIN)/python -m pip install -q -q --disable-pip-version-check \
	  -c constraints.txt -e ".[$(EXTRAS)]" || { \
	  echo "The installation failed; the lines above say why. Nothing is lost:"; \
	  echo "the same command continues."; exit 1; }
	@touch $(STAMP)

clean:
	rm -rf $(DEMO) build dist ./*.egg-info .pytest_cache .ruff_cache .hypothesis
	find speechbrain_dino recipes tests benchmarks -name __pycache__ \
	  -exec rm -rf {} +
