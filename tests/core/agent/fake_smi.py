"""A stand-in for nvidia-smi on PATH, whose devices and processes a test writes down."""

import os

A10 = "{0}, GPU-{0}, NVIDIA A10, 24576, 4, 7, 570.1"


class FakeSmi:
    """`gpus` and `apps` are the lines it prints; `hang` and `fail` are what it does instead; `calls` counts."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        self.gpus(*(A10.format(index) for index in range(2)))
        self.apps()
        script = folder / "nvidia-smi"
        script.write_text(
            f"#!/bin/sh\necho x >> {folder}/calls\n"
            f"test -e {folder}/hang && exec sleep 600\ntest -e {folder}/fail && exit 9\n"
            f'case "$*" in *query-gpu*) cat {folder}/gpus;; *loop*) cat {folder}/apps; exec sleep 600;;\n'
            f"*query-compute-apps*) cat {folder}/apps;; esac\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def gpus(self, *lines):
        self._put("gpus", lines)

    def apps(self, *lines):
        self._put("apps", lines)

    def on(self, what):
        (self.folder / what).touch()

    def off(self, what):
        (self.folder / what).unlink()

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().count("x") if path.exists() else 0

    def _put(self, name, lines):
        (self.folder / f"{name}.new").write_text("".join(f"{line}\n" for line in lines))
        (self.folder / f"{name}.new").rename(self.folder / name)
