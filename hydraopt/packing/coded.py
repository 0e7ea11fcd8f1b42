"""``CodedAdapters``: adapters as packs, the result of compression and the input of lowering."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from ..errors import BundleError, check_task
from ..factors import Factors, Places, placed
from ..formats.layout import LAYOUT, Layout, Section, payload_bytes, read_layout
from ..formats.manifest import Manifest
from ..formats.pack import SHARED, Pack, pack, pack_bytes, pack_name, write_each, write_single
from ..formats.stored import DESCRIPTION, ROUNDED, read_description
from ..formats.swaps import Inputs
from ..stored import Rounding, StoredAdapters, described
from .codec import Coded
from .unpack import Unpack

# (module, side, index of the direction) -> coded vector
Vectors = Mapping[tuple[str, str, int], Coded]


@dataclass(frozen=True)
class CodedAdapters(StoredAdapters):
    """The adapters of T tasks as codes of one layout.

    Attributes:
        layout: directions of every module, and their bits.
        shared: shared payload, uint8 ``[Ns]``.
        payloads: task -> payload, uint8 ``[Nt]``.
        rounding: the rounded base for which the columns were calibrated; None: the base in float.
    """

    layout: Layout
    shared: torch.Tensor
    payloads: Mapping[str, torch.Tensor]
    rounding: Rounding | None = None

    @property
    def base_model(self) -> str:
        """Identifier of the base model."""
        return self.layout.base_model

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.payloads)

    @property
    def modules(self) -> tuple[str, ...]:
        """Dotted names of the adapted modules."""
        return tuple(self.layout.modules)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """``(out, in)`` of the adapted modules."""
        return self.layout.shapes

    @property
    def one_for_all(self) -> bool:
        """Whether all tasks have the same adapter."""
        first, *others = self.payloads.values()
        return all(torch.equal(first, other) for other in others)

    @cached_property
    def _unpack(self) -> Unpack:
        return Unpack(self.layout)

    def task_factors(self, task: str) -> dict[str, Factors]:
        """Return all modules' ``A [R, in]`` and ``B [out, R]`` as a phone unpacks them, float32.

        Each tensor owns its memory, because the exporter stores a constant's whole storage.

        Raises:
            TaskError: unknown task.
        """
        check_task(task, self.tasks)
        with torch.no_grad():
            factors = self._unpack(self.shared, self.payloads[task])
        pairs = zip(factors[::2], factors[1::2], strict=True)
        return {
            name: Factors(_turned(a[0]), _turned(b[0]))
            for name, (a, b) in zip(self.layout.modules, pairs, strict=True)
        }

    def with_columns(self, task: str, columns: Mapping[str, Sequence[Coded]]) -> torch.Tensor:
        """Return a task's payload with other columns: module -> R coded columns."""
        vectors = dict(split_payload(self.layout.task, self.payloads[task]))
        for module, codes in columns.items():
            vectors |= {(module, "B", index): code for index, code in enumerate(codes)}
        return join_vectors(self.layout.task, vectors)

    def placed(self, places: Places) -> "CodedAdapters":
        """Return the codes with renamed modules, without those whose place is None."""
        layout = Layout(self.base_model, placed(self.layout.modules, places))
        if layout == self.layout:
            return self
        names = {module: places.get(module, module) for module in self.layout.modules}

        def moved(section: str, payload: torch.Tensor) -> torch.Tensor:
            vectors = split_payload(getattr(self.layout, section), payload)
            others = {
                (name, side, index): vector
                for (module, side, index), vector in vectors.items()
                if (name := names[module]) is not None
            }
            return join_vectors(getattr(layout, section), others)

        return replace(
            self,
            layout=layout,
            shared=moved("shared", self.shared),
            payloads={task: moved("task", payload) for task, payload in self.payloads.items()},
            errors={task: placed(of_task, places) for task, of_task in self.errors.items()},
        )

    @property
    def stored_bytes(self) -> int:
        """Bytes of layout, shared pack and packs, with headers."""
        packs = {pack: len(self.payloads[task]) for task, pack in self.pack_names().items()}
        layout = len(self.layout.text().encode())
        return layout + pack_bytes(len(self.shared)) + sum(map(pack_bytes, packs.values()))

    def pack_names(self) -> dict[str, str]:
        """Return task -> path of its pack; tasks with equal payloads share one."""
        first: dict[bytes, str] = {}
        return {
            task: first.setdefault(hashlib.sha256(payload.numpy()).digest(), pack_name(task))
            for task, payload in self.payloads.items()
        }

    def write_packs(self, directory: Path, *, single: bool = False) -> dict[str, Pack]:
        """Write layout, shared pack and packs; return task -> location of its pack.

        Args:
            directory: directory to write into.
            single: write the packs of all tasks to a single file.
        """
        (directory / LAYOUT).write_text(self.layout.text(), encoding="utf-8")
        binding = self.layout.binding(self.shared.numpy())
        (directory / SHARED).write_bytes(pack(self.shared.numpy(), binding))
        names = self.pack_names()
        contents = {
            name: pack(self.payloads[task].numpy(), binding)
            for task, name in names.items()
            if name == pack_name(task)
        }
        places = write_single(directory, contents) if single else write_each(directory, contents)
        return {task: places[name] for task, name in names.items()}

    def describe(self) -> dict:
        """Return everything but factors and integers as JSON values."""
        return {**super().describe(), "rounding": self.rounding and self.rounding.describe()}

    def write_factors(self, directory: Path) -> tuple[tuple[str, ...], dict[str, Pack]]:
        """Write layout, packs and the rounded base."""
        if self.rounding is None:
            return (LAYOUT, SHARED), self.write_packs(directory)
        self.rounding.write(directory)
        return (LAYOUT, SHARED, ROUNDED), self.write_packs(directory)

    @classmethod
    def load(cls, directory: str | Path) -> "CodedAdapters":
        """Read what :meth:`~.StoredAdapters.save` wrote.

        Raises:
            BundleError: a file is missing, damaged or from other adapters.
        """
        directory = Path(directory)
        about = read_description(directory)
        if about["packs"] is None:
            raise BundleError(f"{directory / DESCRIPTION} has no packs; compress again")
        layout, shared = read_coded_layout(directory)
        packs = {task: about["packs"][task] for task in about["tasks"]}
        payloads = _payloads(directory, packs, layout, shared)
        rounded = about.get("rounding")
        return cls(
            layout=layout,
            shared=shared,
            payloads=payloads,
            rounding=rounded and Rounding.read(directory, rounded),
            **described(about),
        )

    @classmethod
    def of_bundle(
        cls, bundle: Path, manifest: Manifest, swap: Inputs, tasks: Collection[str]
    ) -> "CodedAdapters":
        """Read the adapters of some tasks of a bundle whose factors are inputs.

        Raises:
            BundleError: a file is missing, damaged or from another bundle.
        """
        layout, shared = read_coded_layout(bundle, swap.binding)
        packs = {task: swap.packs[task] for task in tasks}
        payloads = _payloads(bundle, packs, layout, shared)
        size = manifest.adapter_bytes
        return cls(manifest.method, {}, layout, shared, payloads, adapter_bytes=size)


def _payloads(
    directory: Path, packs: Mapping[str, Pack], layout: Layout, shared: torch.Tensor
) -> dict[str, torch.Tensor]:
    size, binding = payload_bytes(layout.task), layout.binding(shared.numpy())
    return {
        task: torch.from_numpy(pack.payload(directory, size, binding))
        for task, pack in packs.items()
    }


def _turned(x: torch.Tensor) -> torch.Tensor:
    return x.T.clone(memory_format=torch.contiguous_format)


def read_coded_layout(directory: Path, binding: str | None = None) -> tuple[Layout, torch.Tensor]:
    """Call :func:`~hydraopt.formats.layout.read_layout`, with the shared payload as a tensor."""
    layout, shared = read_layout(directory, binding)
    return layout, torch.from_numpy(shared)


def join_vectors(sections: Sequence[Section], vectors: Vectors) -> torch.Tensor:
    """Join coded vectors to a payload, uint8 ``[N]``."""
    parts = [torch.zeros(0, dtype=torch.uint8)]
    for section in sections:
        coded = [vectors[vector[:3]] for vector in section.vectors]
        parts.append(torch.cat([vector.codes for vector in coded]))
        parts.append(torch.stack([vector.step for vector in coded]))
    return torch.cat(parts)


def split_payload(sections: Sequence[Section], payload: torch.Tensor) -> Vectors:
    """Split a payload into its coded vectors: the inverse of :func:`join_vectors`."""
    vectors = {}
    for section in sections:
        codes = payload[section.offset : section.steps].view(-1, section.width)
        steps = payload[section.steps : section.end]
        for vector, *coded in zip(section.vectors, codes, steps, strict=True):
            vectors[vector[:3]] = Coded(*coded)
    return vectors
