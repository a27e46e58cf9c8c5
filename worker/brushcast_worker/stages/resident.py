"""Resident: the networks' stages of a large model as CUDA graphs, over what streams remember where
it is.

The same networks and numbers as `stages.eager`. The transformer's caches and the autoencoder's
memories are gigabytes: graphs read and write them in place (`stages.pool`, `stages.places`). One
stream's pictures fill the device, so each stream has its autoencoder's graphs for itself.

Pictures are painted on a CUDA stream of their own, beside the next chunk's encoding and denoising
where that is there already: what one leaves idle at the end of a kernel the other takes.

Letters: B rows, T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from brushcast_worker.chunk import Chunk, send_back
from brushcast_worker.models.dit import DiT
from brushcast_worker.models.light_vae import CHUNK, Guide
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.cache import Grid
from brushcast_worker.stages.decode import Decoded, as_shown
from brushcast_worker.stages.denoise import Row
from brushcast_worker.stages.device_motion import measure_together
from brushcast_worker.stages.live_vae import LiveVAE
from brushcast_worker.stages.motion import Motion, Seen
from brushcast_worker.stages.places import Place, Places
from brushcast_worker.stages.pool import CachePool, Kernels, PooledCache
from brushcast_worker.stages.row_graphs import RowGraphs, RowInputs

GRAPHS = 64  # two of every stream's autoencoder, and the transformer's of every number of rows


class Resident:
    """Does what `Eager` does. On a GPU; elsewhere, for tests, without `capture`."""

    def __init__(
        self,
        transformer: DiT,
        autoencoder: LiveVAE,
        dtype: torch.dtype,
        device: torch.device,
        *,
        capture: bool,
        kernels: Kernels = nullcontext,
        quirks: Quirks = DEFAULT,
    ) -> None:
        """`kernels`: of attention."""
        self._transformer, self._autoencoder, self._dtype = transformer, autoencoder, dtype
        self.graphs = RowGraphs(device, capture=capture, kept=GRAPHS)
        self._pool = CachePool(transformer, dtype, device, self.graphs, kernels, quirks)
        self._places = Places()
        # Graphs that run at the same time must not share their memory.
        self._painting = RowGraphs(device, capture=capture, kept=GRAPHS)
        self._painter: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._painter = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def cache(self, grid: Grid) -> PooledCache:
        """For one stream and one denoising step."""
        return self._pool.cache(grid)

    def measure(self, chunks: Sequence[Chunk], seen: Sequence[Seen | None]) -> list[Motion]:
        """Of `stages.device_motion`."""
        return measure_together(self.graphs, chunks, seen)

    def guide(self, pictures_TCHW: Tensor) -> Guide | None:
        """None: these decoders never see the source."""
        return None

    def paint_one_by_one(self, height: int, width: int) -> bool:
        """Of the autoencoder."""
        return self._autoencoder.paint_one_by_one(height, width)

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]:
        """Of `stages.pool`."""
        return self._pool.denoise(rows)

    def encode(
        self, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
    ) -> tuple[list[Tensor], list[Memory]]:
        """As of `stages.encode`; pictures may have any type. A memory that is given is changed."""
        latents, after = [], []
        for x_TCHW, memory in zip(pictures_TCHW, memories, strict=True):
            (z_BTCHW,), kept = self._run(self.graphs, "encode", self._encode, x_TCHW, memory)
            latents.append(z_BTCHW[0].clone())
            after.append(kept)
        return latents, after

    def decode(
        self,
        x0_TCHW: Sequence[Tensor],
        sources_TCHW: Sequence[Tensor],
        memories: Sequence[Memory | None],
        guides: Sequence[Guide | None],
    ) -> Iterator[Decoded]:
        """As of `stages.decode`, with the pictures on their way to the host. A memory that is given
        is changed."""
        for number, (z_TCHW, memory) in enumerate(zip(x0_TCHW, memories, strict=True)):
            usual = len(sources_TCHW[number]) == CHUNK  # more: the steps have just fallen
            with self._beside(z_TCHW):
                shown, kept = self._run(
                    self._painting, "decode", self._decode, z_TCHW, memory, rare=not usual
                )
                x_BTCHW, levels_BTHWC, extremes_B2 = shown
                (arrival,) = send_back(levels_BTHWC, extremes_B2)
                decoded = Decoded(number, x_BTCHW[0].clone(), kept, arrival)
            yield decoded

    @contextmanager
    def _beside(self, z_TCHW: Tensor) -> Iterator[None]:
        """What is launched within begins once the latents are there, and nobody waits for it."""
        if self._painter is None:
            yield
            return
        self._painter.wait_stream(torch.cuda.current_stream())
        z_TCHW.record_stream(self._painter)
        with torch.cuda.stream(self._painter):
            yield

    def _run(
        self, graphs: RowGraphs, name: str, function: _OfPlace, x_TCHW: Tensor,
        memory: Memory | None, *, rare: bool = False,
    ) -> tuple[Sequence[Tensor], Memory]:  # fmt: skip
        """What the function makes of one stream, valid until the next run, and its memory."""
        place = None if memory is None else self._places.of(memory)
        outputs = graphs.run(
            f"{name}, {'first' if place is None else place.number}",
            partial(function, place),
            [RowInputs((x_TCHW,), (0.0,))],
            lambda: [x_TCHW.to(self._dtype)],
            rare=rare,
        )
        if memory is not None:
            return outputs, memory
        results = outputs[: _RESULTS[name]]
        return results, self._places.keep(tuple(outputs[len(results) :]))

    def _encode(self, place: Place | None, inputs: Sequence[Tensor], _: Tensor) -> Sequence[Tensor]:
        z_BTCHW, after = self._autoencoder.encode(inputs[0], _known(place))
        return (z_BTCHW, *_new(place, after))

    def _decode(self, place: Place | None, inputs: Sequence[Tensor], _: Tensor) -> Sequence[Tensor]:
        x_BTCHW, after = self._autoencoder.decode(inputs[0], _known(place))
        return (*as_shown(x_BTCHW), *_new(place, after))


_OfPlace = Callable[[Place | None, Sequence[Tensor], Tensor], Sequence[Tensor]]
_RESULTS = {"encode": 1, "decode": 3}  # of a stream's first run; the others are its memory


def _known(place: Place | None) -> Memory | None:
    return None if place is None else place.tensors


def _new(place: Place | None, memory: Memory) -> Memory:
    """A stream's first memory, which has no place yet; any other is written to its own."""
    if place is None:
        return memory
    place.write(memory)
    return ()
