# Everyday targets. `make test` and `make demo` are the README's two commands; the others use the environment that
# is active (pip install -c constraints.txt -e ".[dev]").

.PHONY: help demo test gpu gpu-bundle build docs notebook lint format wheel clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/'

demo:  ## install into .venv, remove an object from a photograph, run the quick benchmark
	python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt torch && pip install -c constraints.txt ".[bench]" && python tools/docs/removal_picture.py --keep . && python -m contextual_attention inpaint photo.png mask.png -o out.png && python benchmarks/bench_attention.py --quick

test:  ## install into .venv and run all tests
	python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt torch && pip install -c constraints.txt -e ".[test]" && pytest -n 2

gpu:  ## on a machine with a GPU: check, test and measure into RESULTS=dir, offline, in 9 minutes
	python3 tools/gpu/session.py $(or $(RESULTS),$(error RESULTS=dir is missing: where results go)) --minutes 9

gpu-bundle:  ## build what travels to such a machine, for Python 3.12 and Hopper, so that nothing is compiled there
	python -m tools.gpu.bundle $(if $(PYTHON),--python $(PYTHON))

build:  ## recompile what has changed, in place
	python setup.py build_ext --inplace

# The variable keeps the theme from telling of another generator every time. With --quiet no warning would count.
docs:  ## build the documentation's site into build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 mkdocs build

notebook:  ## run the notebook and store what it shows
	cd examples && python -c 'import nbclient, nbformat; n = nbformat.read("contextual_attention.ipynb", 4); nbclient.execute(n, record_timing=False); nbformat.write(n, "contextual_attention.ipynb")'

lint:  ## check the form of the sources
	.ci/lint

format:  ## bring the sources into form
	ruff check --fix .
	ruff format .
	find csrc tests -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) -exec clang-format -i {} +

wheel:  ## build a wheel into dist/
	pip wheel --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove what builds have left
	rm -rf build dist *.egg-info contextual_attention_C*.so
