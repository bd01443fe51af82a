# The commands of this repository. Each sets up what it needs: Python packages from requirements.lock by hash.
.PHONY: demo test check serve bench drill parts docs lock screenshots bench-console bench-peers .venv
.DEFAULT_GOAL := help
BIN := .venv/bin

help:
	@echo "make demo [DEMO_ARGS=…]   the whole story on a small shop of real local processes"
	@echo "make serve [SERVE_ARGS=…] a development gate on http://localhost:8480"
	@echo "make test [PYTEST_ARGS=…] every test; what the machine lacks is skipped with the reason"
	@echo "make check                lint, types, import rules, policies, deployment files"
	@echo "make parts                the real OPA, PostgreSQL and other parts that tests run against"
	@echo "make bench | drill        figures against a direct call; kill -9 under load"
	@echo "make bench-peers          beside ContextForge and LiteLLM, each installed by its lock"
	@echo "make bench-console        pages of the console at a million records: time, asks, requests, bytes"
	@echo "make docs                 write docs/settings.md and docs/errors.md from the code"
	@echo "make screenshots          every page of the console in both colours, into docs/screenshots/"
	@echo "make lock                 resolve requirements.lock anew"

.venv:
	@sh .ci/venv.sh

demo: .venv
	@$(BIN)/wicketgate demo $(DEMO_ARGS)

serve: .venv
	@$(BIN)/wicketgate serve --dev $(SERVE_ARGS)

test: .venv
	@$(BIN)/python -m pytest $(or $(PYTEST_ARGS),-n 2 --dist loadfile --no-loadscope-reorder -q)

check: .venv
	@bash .ci/check

parts: .venv
	@bash .ci/parts.sh

bench: .venv
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-peers: .venv
	@$(BIN)/python -m tests.bench.peers $(BENCH_ARGS)

bench-console: .venv
	@$(BIN)/python -m tests.bench.console $(BENCH_ARGS)

drill: .venv
	@$(BIN)/python -m tests.drill $(DRILL_ARGS)

docs: .venv
	@$(BIN)/python -m tests.generate_docs

screenshots: .venv
	@$(BIN)/python -m tests.browser.screenshots $(SCREENSHOTS_ARGS)

lock: .venv
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --group dev --no-emit-package wicketgate-client pyproject.toml -o requirements.lock
