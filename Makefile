# The same commands as `python3 -m installer test`; Windows has no make.
PYTHON ?= python3

.PHONY: all setup style types tests faults
all: style types tests

setup:
	$(PYTHON) -m installer setup --dev

style types tests:
	$(PYTHON) -m installer $@

# Every fault of docs/RELIABILITY.md, 12 minutes; wants a quiet machine. For developers: not in the wheel.
faults:
	$(PYTHON) -m tests.faults --write --json faults.json
