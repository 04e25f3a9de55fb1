"""The card of the one model that is served: its names, and what lists and descriptions say.

Invariant: the card is made once, at start, from the file's header; it never touches the file again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery_app.stack.gguf import read_header

__all__ = ["ModelCard"]

# llama.cpp's numbers for the mix of number formats in a file (`general.file_type`).
QUANTIZATIONS = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
}
# The model is never unloaded, and clients want a date.
NEVER = "2318-01-01T00:00:00Z"
TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model file, in the shapes of Ollama's replies."""

    name: str
    digest: str
    size: int
    modified_at: str
    header: dict[str, Any]

    @classmethod
    def of(cls, path: Path, name: str, digest: str) -> ModelCard:
        """Read the card of the file. Raises ConfigurationError when it is no GGUF."""
        status = path.stat()
        changed = datetime.fromtimestamp(status.st_mtime, UTC)
        full_name = name if ":" in name else f"{name}:latest"
        return cls(full_name, digest, status.st_size, changed.isoformat(), read_header(path))

    def answers_to(self, name: str) -> bool:
        """Whether the name, with or without a tag, means this model."""
        base = self.name.partition(":")[0]
        return name.lower() in {self.name.lower(), base.lower(), f"{base}:latest".lower()}

    @property
    def details(self) -> dict[str, Any]:
        """The short description that is a part of every entry."""
        family = self.header.get("general.architecture", "unknown")
        return {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": self.header.get("general.size_label", "unknown"),
            "quantization_level": QUANTIZATIONS.get(
                self.header.get("general.file_type", -1), "unknown"
            ),
        }

    def entry(self) -> dict[str, Any]:
        """Return the model's entry in the list of models."""
        return {
            "name": self.name,
            "model": self.name,
            "modified_at": self.modified_at,
            "size": self.size,
            "digest": self.digest,
            "details": self.details,
        }

    def running(self, context: int) -> dict[str, Any]:
        """Return its entry in the list of loaded models; `context` is the length in force."""
        entry = self.entry() | {"size_vram": 0, "expires_at": NEVER, "context_length": context}
        del entry["modified_at"]
        return entry

    def description(self, context: int) -> dict[str, Any]:
        """Return everything that is known of it."""
        return {
            "license": self.header.get("general.license", ""),
            "modelfile": "",
            "parameters": f"num_ctx {context}",
            "template": self.header.get(TEMPLATE, ""),
            "details": self.details,
            "model_info": {key: value for key, value in self.header.items() if key != TEMPLATE},
            "capabilities": ["completion", "embedding"],
            "modified_at": self.modified_at,
        }

    def pull_lines(self) -> list[dict[str, Any]]:
        """Return what a pull says when all is here already."""
        layer = {
            "status": f"pulling {self.digest[:12]}",
            "digest": f"sha256:{self.digest}",
            "total": self.size,
            "completed": self.size,
        }
        steps = ("verifying sha256 digest", "writing manifest", "success")
        return [{"status": "pulling manifest"}, layer, *({"status": step} for step in steps)]
