"""Wheels of a few hundred bytes, made here, so that Envs are built without an index."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
DRIVER = (
    "import json,sys\n"
    "from drawbar.agent import envs\n"
    "try: print(envs.build(sys.argv[1], json.loads(sys.argv[2])))\n"
    "except envs.EnvError as error: print(json.dumps(vars(error))); sys.exit(3)\n"
)
UV = Path(sys.executable).parent / "uv"
OTHERS = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "DRAWBAR_")


def make(folder, name, version="1.0", requires=(), size=0):
    """A wheel of a module that knows its version and a program that prints it; its path."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n\n\ndef main():\n    print({name!r}, VERSION)\n",
        f"{name}_data.txt": "x" * size,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\nsay-{name} = {name}:main\n",
    }
    record = "".join(f"{path},{_hash(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    path = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as made:
        for inside, text in {**files, f"{info}/RECORD": record}.items():
            made.writestr(zipfile.ZipInfo(inside), text)
    return path


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def environment(tool="uv", **more):
    """Variables for a build that asks no index, by that tool; `tool` is uv, pip or a path of what stands for uv."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    named = {"uv": str(UV), "pip": ""}.get(tool, str(tool))
    offline = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    return {**kept, **offline, "DRAWBAR_UV": named, **more}


def spec_of(*requirements, wheels="", digest="", **more):
    """An Env's part of a job's spec; `wheels` is a folder on the host."""
    said = json.dumps([requirements, str(wheels)])
    asked = {"digest": digest or hashlib.sha256(said.encode()).hexdigest(), "requirements": list(requirements)}
    return {**asked, "base": None, "lock": "", "lock_name": "", "find_links": str(wheels), "wheels": {}, **more}


def begin(root, spec, environ):
    """A process that builds; its output is what a job's log would get, its result the interpreter or the error."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root), json.dumps(spec)],
        env={**environ, "PYTHONPATH": str(ROOT / "core")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(process):
    """What a builder gave in the end: the interpreter (or None), the error (or None), and its log."""
    out, log = process.communicate(timeout=110)
    text = log.decode()
    assert process.returncode in {0, 3}, text
    return (out.decode().strip(), None, text) if process.returncode == 0 else (None, json.loads(out), text)


def build(root, spec, environ):
    """Build in a process of its own, to the end."""
    return end(begin(root, spec, environ))


def says(python, text):
    """What an Env's interpreter prints."""
    done = subprocess.run([python, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
