"""Build ``bbb_spoken.mp4`` from its two licensed sources (see README.md beside this file).

    python samples/build_sample.py --film trailer_bbb.mp4 --speech-dir librivox/ [--out FILE]

The film is the Big Buck Bunny trailer of moviepy 2.2.1's source distribution
(``docs/_static/medias/getting_started/moviepy_10_minutes/trailer_bbb.mp4``); the speech are the
LibriVox sentences of pocketsphinx' test data (``test/data/librivox/*.wav``). Both are checked by
hash first, because the cut points and the captions of the tests depend on these very files.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

FILM_SHA256 = "ce0d2ba68822a89ae65ee41b53be9de621771130c2aa1d0ff02d935df75b59ae"
FILM_FROM_S = 593 / 24
FILM_SECONDS = 26.0

SPEECH = {
    # name: (sha256, start in the clip, what is said)
    "sense_and_sensibility_01_austen_64kb-0880.wav": (
        "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414",
        0.7,
        "he was not an ill disposed young man",
    ),
    "sense_and_sensibility_01_austen_64kb-0890.wav": (
        "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10",
        4.3,
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
    ),
    "sense_and_sensibility_01_austen_64kb-0920.wav": (
        "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59",
        11.9,
        "had he married a more amiable woman he might have been made still more respectable"
        " than he was",
    ),
    "sense_and_sensibility_01_austen_64kb-0930.wav": (
        "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7",
        18.9,
        "he might even have been made amiable himself",
    ),
}


class WrongInputError(Exception):
    """An input is not the file that the sample is made from; the message names it."""


def verify(path: Path, sha256: str) -> Path:
    """Return ``path`` if its content has this hash; raises WrongInputError otherwise."""
    if not path.is_file():
        raise WrongInputError(f"{path} is missing; samples/README.md says where it comes from")
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise WrongInputError(f"{path} has sha256 {found}, wanted {sha256}")
    return path


def sound_graph() -> str:
    """The music lowered under the speech, both brought to about -19 LUFS."""
    voices = [
        f"[{n}:a]aresample=48000,aformat=channel_layouts=stereo,volume=6dB,"
        f"adelay={round(start * 1000)}:all=1[v{n}]"
        for n, (_, start, _) in enumerate(SPEECH.values(), start=1)
    ]
    names = "".join(f"[v{n}]" for n in range(1, len(SPEECH) + 1))
    return ";".join(
        [
            *voices,
            f"{names}amix=inputs={len(SPEECH)}:normalize=0,apad=whole_dur={FILM_SECONDS},"
            "asplit[voice][key]",
            f"[0:a]atrim=0:{FILM_SECONDS},asetpts=PTS-STARTPTS,aresample=48000,"
            "aformat=channel_layouts=stereo,volume=11dB[music]",
            "[music][key]sidechaincompress=threshold=0.01:ratio=12:attack=40:release=500[low]",
            f"[voice][low]amix=inputs=2:normalize=0,alimiter=limit=0.7:level=0,"
            f"atrim=0:{FILM_SECONDS},afade=t=in:d=0.05,"
            f"afade=t=out:st={FILM_SECONDS - 0.4}:d=0.4,aresample=48000[sound]",
        ]
    )


def command(ffmpeg: str, film: Path, speech: list[Path], out: Path) -> list[str]:
    """The one ffmpeg process that makes the sample."""
    inputs = ["-ss", f"{FILM_FROM_S:.6f}", "-i", str(film)]
    for path in speech:
        inputs += ["-i", str(path)]
    return [
        *(ffmpeg, "-v", "error", "-y", *inputs),
        *("-filter_complex", sound_graph(), "-map", "0:v", "-map", "[sound]"),
        *("-t", str(FILM_SECONDS), "-c:v", "libx264", "-preset", "slow", "-crf", "22"),
        *("-pix_fmt", "yuv420p", "-threads", "1", "-c:a", "aac", "-b:a", "128k"),
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact"),
        *("-metadata", "title=Big Buck Bunny trailer with LibriVox speech"),
        *("-metadata", "copyright=CC BY 3.0 (c) 2008 Blender Foundation, www.bigbuckbunny.org"),
        *("-movflags", "+faststart", str(out)),
    ]


def main() -> int:
    """Verify the inputs, run ffmpeg, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--film", type=Path, required=True)
    parser.add_argument("--speech-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("bbb_spoken.mp4"))
    asked = parser.parse_args()
    import imageio_ffmpeg

    try:
        film = verify(asked.film, FILM_SHA256)
        speech = [verify(asked.speech_dir / name, entry[0]) for name, entry in SPEECH.items()]
    except WrongInputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    subprocess.run(command(imageio_ffmpeg.get_ffmpeg_exe(), film, speech, asked.out), check=True)
    size = asked.out.stat().st_size
    sys.stdout.write(f"{asked.out}: {FILM_SECONDS} s, {size / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
