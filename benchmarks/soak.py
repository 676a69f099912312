"""Whether memory stays flat: minutes of mixed requests to the gateway, and what each of its processes holds meanwhile.

    python benchmarks/soak.py [--minutes 20] [--model URI] [--images FOLDER]

Needs nginx. Four clients send single images, batches, what is rejected and what is hostile; the champion is chosen as
by `benchmarks/serving.py`. Memory is read every five seconds: RssAnon is what a process alone holds, PSS also its share
of what several map. After three minutes everything is warm; from then on the sum may grow by five in a hundred.
"""

import argparse
import http.client
import io
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from struct import pack

import cv2
import numpy as np
import psutil
from gateway import PATIENCE_S, Server, gateway
from PIL import Image
from serving import Subject, chosen, phantoms, request, untrained

from secondread.bundle import load_description
from secondread.data.phantom.write import phantom_image
from secondread.tasks import load_task
from secondread.tracking.model import bundle_folder, fetch_model

CLIENTS = 4
EVERY_S = 5
WARM_MINUTES = 3
MOST_GROWTH = 0.05
KILOBYTES_A_MEGABYTE = 1024
SHARES = {"single": 0.75, "batch": 0.1, "rejected": 0.12, "hostile": 0.03}
Memory = tuple[float, float]  # RssAnon and PSS, MB
Bodies = dict[str, Sequence[bytes]]


@dataclass
class Traffic:
    """What one client sent and what came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0


def main(minutes: int, uri: str | None, files: Path | None) -> None:
    """Print memory by the minute, and at the end how much it grew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = logged(fetch_model(uri), files) if uri else untrained("pneumonia", folder / "model")
        bodies = mixed(subject.images)
        with gateway(subject.model, folder) as server:
            soak(server, bodies, minutes)


def logged(model: Path, files: Path | None) -> Subject:
    """A logged model, asked about a folder's images or the phantom's."""
    return Subject(model, chosen(files) if files else phantoms(load_description(bundle_folder(model)).task))


def soak(server: Server, bodies: Bodies, minutes: int) -> None:
    """Ask for minutes, and print what that costs."""
    traffics, over = [Traffic() for _ in range(CLIENTS)], threading.Event()
    clients = [
        threading.Thread(target=ask, args=(server, bodies, traffic, over, seed))
        for seed, traffic in enumerate(traffics)
    ]
    for client in clients:
        client.start()
    try:
        totals = list(watched(server, minutes))
    finally:
        over.set()
        for client in clients:
            client.join()
    print_traffic(traffics)
    print_growth(totals)


def watched(server: Server, minutes: int) -> Iterator[Memory]:
    """Yield each minute's median of all processes' memory together, and print it by kind of process."""
    print("minute: sum RssAnon/PSS in MB; processes, RssAnon/PSS each", flush=True)
    began = time.monotonic()
    for minute in range(1, minutes + 1):
        samples = []
        while time.monotonic() < began + 60 * minute:
            time.sleep(EVERY_S)
            samples.append(held(server))
        sums = [tuple(sum(memory[kind] for _, memory in sample) for kind in (0, 1)) for sample in samples]
        total = median(anon for anon, _ in sums), median(pss for _, pss in sums)
        last = ", ".join(f"{role} {anon:.0f}/{pss:.0f}" for role, (anon, pss) in sorted(samples[-1]))
        print(f"{minute:3}: {total[0]:.0f}/{total[1]:.0f}; {last}", flush=True)
        yield total


def held(server: Server) -> list[tuple[str, Memory]]:
    """What each process of the gateway is, and holds; without those that end meanwhile."""
    found = []
    for process in [server.main, *server.main.children(recursive=True)]:
        try:
            words, folder = " ".join(process.cmdline()), Path(f"/proc/{process.pid}")
            numbers = [(folder / name).read_text() for name in ("status", "smaps_rollup")]
        except (psutil.NoSuchProcess, OSError):
            continue
        if words:
            found.append((role(words), (megabytes(numbers[0], "RssAnon:"), megabytes(numbers[1], "Pss:"))))
    return found


def role(command: str) -> str:
    """What a process is there for."""
    roles = {"nginx": "nginx", "imaging.decoder": "decoder", "scoring.py": "worker"}
    return next((name for word, name in roles.items() if word in command), "supervisor")


def megabytes(said: str, name: str) -> float:
    """A line of the kernel's, which counts in kB."""
    return int(said.partition(name)[2].split()[0]) / KILOBYTES_A_MEGABYTE


def ask(server: Server, bodies: Bodies, traffic: Traffic, over: threading.Event, seed: int) -> None:
    """Be one client, in one connection for as long as it stays open."""
    chance = random.Random(seed)
    connection = connect(server)
    while not over.is_set():
        [kind] = chance.choices([*SHARES], [*SHARES.values()])
        began = time.monotonic()
        try:
            status, said, wait_s = post(server, connection, chance.choice(bodies[kind]))
        except (OSError, http.client.HTTPException) as error:
            status, said, wait_s = f"lost: {type(error).__name__}", b"", 0
            connection.close()
            connection = connect(server)
        traffic.statuses[f"{kind} {status}"] += 1
        traffic.slowest_s = max(traffic.slowest_s, time.monotonic() - began)
        if status == "200":
            traffic.images.update(answer["status"] for answer in json.loads(said)["predictions"])
        over.wait(wait_s)
    connection.close()


def connect(server: Server) -> http.client.HTTPSConnection:
    """Open a connection when it is first used."""
    return http.client.HTTPSConnection("localhost", server.port, timeout=PATIENCE_S, context=server.trusted)


def post(server: Server, connection: http.client.HTTPSConnection, body: bytes) -> tuple[str, bytes, float]:
    """Status, answer, and how long the server asks to wait."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    connection.request("POST", server.path, body, headers)
    reply = connection.getresponse()
    return str(reply.status), reply.read(), float(reply.headers.get("Retry-After", 0))


def print_traffic(traffics: Sequence[Traffic]) -> None:
    """Print what became of the requests and of the images in them."""
    statuses, images = Counter[str](), Counter[str]()
    for traffic in traffics:
        statuses.update(traffic.statuses)
        images.update(traffic.images)
    print(f"{statuses.total()} requests; slowest {max(traffic.slowest_s for traffic in traffics):.1f} s")
    for said, count in sorted(statuses.items()):
        print(f"  {said}: {count} ({count / statuses.total():.3f})")
    shares = (f"{name} {count / images.total():.3f}" for name, count in sorted(images.items()))
    print(f"{images.total()} images: {', '.join(shares)}")


def print_growth(totals: Sequence[Memory]) -> None:
    """Print how much the sum has grown since everything was warm."""
    if len(totals) <= WARM_MINUTES:
        print(f"memory is compared with that of minute {WARM_MINUTES}: too short")
        return
    for name, kind in (("RssAnon", 0), ("PSS", 1)):
        warm, end = totals[WARM_MINUTES - 1][kind], totals[-1][kind]
        largest = max(total[kind] for total in totals[WARM_MINUTES:])
        print(
            f"{name}: {warm:.0f} MB in minute {WARM_MINUTES}, {end:.0f} in minute {len(totals)}: "
            f"{end / warm - 1:+.1%} (largest {largest:.0f}); the goal is at most {MOST_GROWTH:.0%}"
        )


# --- what is sent


def mixed(images: Sequence[bytes]) -> Bodies:
    """Bodies of each kind."""
    whole = [request([image]) for image in images]
    return {
        "single": whole,
        "batch": [request(images), request(images[:16])],
        "rejected": [
            *(request([bad]) for bad in rejected(images)),
            request([images[0], b"no image", images[1]]),
            whole[0][:-40],
            b'{"dataframe_records": 5}',
            b"[" * 100_000,
        ],
        "hostile": [request([images[0], make(), images[1]]) for make in HOSTILE],
    }


def rejected(images: Sequence[bytes]) -> list[bytes]:
    """Good images that were damaged: cut, or with some bytes changed."""
    chance = random.Random(0)
    damaged = []
    for image in images[:20]:
        changed = bytearray(image)
        for _ in range(20):
            changed[chance.randrange(len(image))] = chance.randrange(256)
        damaged += [image[: len(image) // 2], bytes(changed)]
    return damaged


def crowded() -> bytes:
    """A DICOM file with a million empty elements behind its pixels, which keep a reader busy."""
    head = phantom_image(load_task("hemorrhage"), seed=0)
    elements = (pack("<HH2sH", 0x7FE1 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 0) for n in range(1_000_000))
    return head + b"".join(elements)


def large_png() -> bytes:
    """A picture of 36 megapixels in 40 kB."""
    return bytes(cv2.imencode(".png", np.zeros((6000, 6000), np.uint8))[1])


def progressive() -> bytes:
    """A JPEG that is sent to the decoder's process, and is cut."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8)
    saved = io.BytesIO()
    Image.fromarray(noise).save(saved, "JPEG", progressive=True)
    return saved.getvalue()[:-5000] + b"\xff\xd9"


def large_header() -> bytes:
    """A JPEG whose header claims 8192 rows and columns, of which there is nothing."""
    small = bytearray(bytes(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1]))
    frame = small.index(b"\xff\xc0")
    small[frame + 5 : frame + 9] = pack(">HH", 8192, 4096)
    return bytes(small)


HOSTILE: Sequence[Callable[[], bytes]] = (crowded, large_png, progressive, large_header)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--model", metavar="URI")
    parser.add_argument("--images", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    main(given.minutes, given.model, given.images)
