"""The picture of the README: frames of what `revseg demo` leaves, and the same frames with the answer's masks.

revseg demo && python benchmarks/demo_picture.py revseg-demo docs/images/demo.png
"""

import argparse
import json
from pathlib import Path

from revseg.drawing import contact_sheet
from revseg.video import Video
from revseg.video.writing import write_png

FRAMES = 5
WIDTH = 200


def draw(demo: Path, picture: Path, frames: int = FRAMES) -> None:
    """Writes `picture`, replacing one that is there: the keyframe and others evenly spread, above and below."""
    key = json.loads((demo / "reasoning.json").read_text("utf-8"))["groundings"][0]["frame_id"]
    rows = [Video.open(demo / name) for name in ("input.mp4", "overlay.mp4")]
    last = len(rows[0]) - 1
    ids = [round(i * last / frames + last / frames / 2) for i in range(frames)]
    ids[min(range(frames), key=lambda i: abs(ids[i] - key))] = key
    pictures = [frame for row in rows for frame in row.read(ids)]
    captions = [f"frame {i}" for i in ids] * 2
    sheet = contact_sheet(pictures, captions, frames + ids.index(key), columns=frames, width=WIDTH)
    write_png(picture, sheet, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `revseg demo` wrote")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    arguments = parser.parse_args()
    draw(arguments.demo, arguments.picture)


if __name__ == "__main__":
    main()
