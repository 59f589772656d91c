# dupelake: `make demo` and `make test` set everything up themselves; `make help` lists the rest.
VENV   ?= .venv
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3 2>/dev/null))
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JAR    := lib/dupelake/jars/dupelake-reader.jar

.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

.PHONY: setup
setup: $(STAMP) $(JAR)  ## environment in .venv, Delta's jars, the reader jar

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "dupelake: no Python 3.11 or newer found; install python3.11 and its venv module"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dupelake: $(PYTHON) is older than 3.11; install python3.11, or make PYTHON=/path/to/python3.11"; exit 2; }
	@PYTHONPATH=lib $(PYTHON) -m dupelake.runtime.java
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/dupelake jars 2>$(VENV)/jars.log || { cat $(VENV)/jars.log; exit 1; }
	@touch $@

$(JAR): java/io/dupelake/ReadUri.java $(STAMP)
	$(BIN)/python scripts/build_jar.py
	@touch $@

.PHONY: demo
demo: setup  ## sample images with known copies, two nights, a report
	$(BIN)/dupelake demo --out demo-output

.PHONY: test
test: setup  ## the tests, two files at a time, but for the long ones
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long' --durations 20

.PHONY: test-all
test-all: setup  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

.PHONY: test-long
test-long: setup  ## the long tests that begin within MINUTES (default: all)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m long $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: test-unit
test-unit: setup  ## the tests that need no Spark
	$(BIN)/python -m pytest -q -n 2 -m 'not spark and not long'

S3 := $(VENV)/share/dupelake

.PHONY: s3
s3: setup  ## what the tests of S3 need: the server moto, and the jars that read S3
	$(BIN)/python -m pip install --quiet --upgrade --target $(S3)/moto --requirement tests/worlds/moto.txt
	$(BIN)/dupelake jars --s3 --to $(S3)/s3

.PHONY: dev
dev: setup  ## linters and type checker into the environment
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'

.PHONY: check
check: dev  ## lint, types, rules of imports, Markdown
	$(BIN)/ruff check lib jobs tests benchmarks scripts docs deploy
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_markdown.py

.PHONY: jar
jar: $(JAR)  ## the reader jar, for URIs that are not local

.PHONY: package
package: setup  ## dist/: the wheel and the reader jar
	rm -f dist/dupelake-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	cp $(JAR) dist/

.PHONY: docs
docs: setup  ## the site of docs/ in site/, which needs no network to be read
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html; for the search: $(BIN)/python -m http.server --directory site"

.PHONY: screenshots
screenshots: dev  ## the pictures of the README and of docs/ again; needs chromium
	$(BIN)/python scripts/screenshots.py
	$(BIN)/python scripts/review_shots.py --warehouse demo-output/warehouse
	$(BIN)/python scripts/draw_terminal.py
	$(BIN)/python scripts/method_pictures.py

.PHONY: clean
clean:  ## remove what was built; leaves the environment
	rm -rf dist build site demo-output .pytest_cache .mypy_cache .ruff_cache $(JAR)
