# The same commands as `python3 -m installer test`; Windows has no make.
PYTHON ?= python3

.PHONY: all setup style types tests
all: style types tests

setup:
	$(PYTHON) -m installer setup --dev

style types tests:
	$(PYTHON) -m installer $@
