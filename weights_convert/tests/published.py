"""A table of published models of a few thousand parameters, a hub that has them and a server, for tests."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

from clip_core.published import names, table
from weights_convert.tests import checkpoints

TOWERS = ("text_config", "vision_config")
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps", "vocab_size",
         "max_position_embeddings", "image_size", "patch_size", "eos_token_id", "bos_token_id")  # fmt: skip
COMMIT = "c0ffee"


def use_table(monkeypatch, folder: Path, rows: list[dict]) -> None:
    """Puts rows of the architecture ``Tiny`` in the place of the published models."""
    full = checkpoints.CONFIG.to_dict()
    towers = {name: {key: full[name][key] for key in SIZES if key in full[name]} for name in TOWERS}
    tiny = {"parameters": 0, "projection_dim": full["projection_dim"], **towers}
    own = Path(table.__file__).parent / "models.json"
    kept = json.loads(own.read_text())["preprocessing"]
    usual = {"architecture": "Tiny", "activation": "quick_gelu", "preprocessing": "openai"}
    folder.mkdir(exist_ok=True)
    (folder / "architectures.json").write_text(json.dumps({"architectures": {"Tiny": tiny}}))
    models = {"made_from": "a test", "preprocessing": kept, "models": [{**usual, **row} for row in rows]}
    (folder / "models.json").write_text(json.dumps(models))
    monkeypatch.setattr(table, "_FOLDER", folder)
    forget()


def forget() -> None:
    """Has the table be read anew."""
    of_names = (names._by_hub, names._by_architecture_and_tag, names._by_spelling, names.by_digest)
    for each in (table.models, table.architectures, *of_names):
        each.cache_clear()


class Hub:
    """A stand-in for ``huggingface_hub``, with repositories in a folder; it counts what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.torn = folder, [], False

    def add(self, name: str, source: Path, **texts: object) -> Path:
        """Adds a repository with the files of a directory; ``texts`` are JSON files by the stems of their names."""
        shutil.copytree(source, self.folder / name)
        for stem, described in texts.items():
            (self.folder / name / f"{stem}.json").write_text(json.dumps(described))
        return self.folder / name

    def model_info(self, name, *, revision, token):
        self.asked.append(name)
        files = sorted((self.folder / name).rglob("*"))
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=file.name) for file in files])

    def snapshot_download(self, name, *, revision, cache_dir, allow_patterns, force_download, token):
        place = Path(cache_dir) / f"models--{name.replace('/', '--')}"
        snapshot = place / "snapshots" / COMMIT
        for folder in (snapshot, place / "refs", place / "blobs"):
            folder.mkdir(parents=True, exist_ok=True)
        (place / "refs" / revision).write_text(COMMIT)
        for file in (self.folder / name).iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns) and not (snapshot / file.name).exists():
                content = file.read_bytes()
                blob = place / "blobs" / hashlib.sha256(content).hexdigest()
                blob.write_bytes(content[:-1] + b"?" if self.torn else content)
                (snapshot / file.name).symlink_to(blob)
        return str(snapshot)


def use_hub(monkeypatch, folder: Path) -> Hub:
    """A hub without repositories, and caches that are empty."""
    hub = Hub(folder / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub-cache"))
    monkeypatch.setenv("TRICLIP_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HOME", str(folder / "home"))
    return hub


@contextmanager
def serving(content: bytes, sent: int | None = None) -> Iterator[str]:
    """The address of a server that sends a file, or the beginning of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:sent])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/Tiny.pt"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
