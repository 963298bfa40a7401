"""Run folders as `train` and `evaluate` leave them, without training."""

import json


def described(run, **data):
    """Makes config.json, by default of this machine; `data` is where another has its images."""
    config = run.whole_config
    run.workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**config, "data": {**config["data"], **data}})
    (run.workdir / "config.json").write_text(text)


def scored(run, *rows):
    """Adds rows, of its config unless they say so, to evals.jsonl, beside the config that is there
    or the run's own.
    """
    if not (run.workdir / "config.json").exists():
        described(run)
    with (run.workdir / "evals.jsonl").open("a") as file:
        file.writelines(json.dumps({"config_hash": run.config_hash} | row) + "\n" for row in rows)
